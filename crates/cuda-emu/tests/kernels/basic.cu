// Small kernels for tests of the executor: one idea each.
extern "C" __global__ void vector_add(const float* a, const float* b, float* c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + b[i];
}

// One sum per block: shuffles inside warps, shared memory between them.
extern "C" __global__ void block_sum(const float* x, float* y, int n) {
    __shared__ float partial[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float v = i < n ? x[i] : 0.f;
    for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < (blockDim.x >> 5) ? partial[threadIdx.x] : 0.f;
        for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
        if (threadIdx.x == 0) y[blockIdx.x] = v;
    }
}

// c[m,n] = a[m,k] b[k,n], row major, any size; 64x64 tile, 16 deep, 256 threads, 4x4 values a thread.
extern "C" __global__ void __launch_bounds__(256) sgemm64(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float as[16][64];
    __shared__ float bs[16][64];
    int t = threadIdx.x, tx = t & 15, ty = t >> 4;
    int m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
    float acc[4][4] = {};
    for (int k0 = 0; k0 < k; k0 += 16) {
        for (int i = t; i < 64 * 16; i += 256) {
            int row = i >> 4, col = i & 15;
            as[col][row] = (m0 + row < m && k0 + col < k) ? a[(size_t)(m0 + row) * k + k0 + col] : 0.f;
        }
        for (int i = t; i < 64 * 16; i += 256) {
            int row = i >> 6, col = i & 63;
            bs[row][col] = (k0 + row < k && n0 + col < n) ? b[(size_t)(k0 + row) * n + n0 + col] : 0.f;
        }
        __syncthreads();
        for (int p = 0; p < 16; ++p) {
            float4 av = *reinterpret_cast<float4*>(&as[p][ty * 4]);
            float4 bv = *reinterpret_cast<float4*>(&bs[p][tx * 4]);
            float aa[4] = {av.x, av.y, av.z, av.w}, bb[4] = {bv.x, bv.y, bv.z, bv.w};
            for (int i = 0; i < 4; ++i) for (int j = 0; j < 4; ++j) acc[i][j] += aa[i] * bb[j];
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i) for (int j = 0; j < 4; ++j) {
        int row = m0 + ty * 4 + i, col = n0 + tx * 4 + j;
        if (row < m && col < n) c[(size_t)row * n + col] = acc[i][j];
    }
}

// Nested divergence, a loop whose length differs by lane, an early return.
extern "C" __global__ void diverge(const int* x, int* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i], r = 0;
    for (int j = 0; j < v; ++j) {
        if (j & 1) { if (v > 10) r += 3; else { r += 5; if (j > 7) break; } }
        else if (r > 100) { y[i] = -r; return; }
        r += j;
    }
    switch (v & 3) { case 0: r ^= 0x55; break; case 1: r *= 7; break; case 2: r -= 11; break; default: r = ~r; }
    y[i] = r;
}

struct Window { int h, w; float scale; long long offset; unsigned char taps[5]; };
__constant__ float table[4] = {0.5f, 1.5f, -2.0f, 8.0f};
__device__ unsigned int ticket = 7u;

// A struct parameter, a constant table, a device variable, dynamic shared memory, local arrays, atomics.
extern "C" __global__ void pieces(Window w, float* out, unsigned int* count) {
    extern __shared__ float dyn[];
    int t = threadIdx.x;
    float local[8];
    for (int i = 0; i < 8; ++i) local[i] = (float)(t * i);
    dyn[t] = local[(t * 3) & 7] * w.scale + table[t & 3] + (float)w.taps[t % 5] + (float)(w.h * w.w);
    __syncthreads();
    out[w.offset + t] = dyn[blockDim.x - 1 - t];
    atomicAdd(count, ticket);
}

extern "C" __global__ void maths(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[i] = expf(v);
    y[n + i] = logf(fabsf(v) + 1.f);
    y[2 * n + i] = sqrtf(fabsf(v));
    y[3 * n + i] = v / (v * v + 3.f);
    y[4 * n + i] = rsqrtf(fabsf(v) + 0.1f);
    y[5 * n + i] = floorf(v) + ceilf(v * 0.5f) + rintf(v * 3.f) + truncf(v * 7.f);
    y[6 * n + i] = __expf(v) + __sinf(v) + __cosf(v);
    y[7 * n + i] = tanhf(v);
    y[8 * n + i] = (float)((double)v * 3.0 + 1e-3);
    y[9 * n + i] = fminf(fmaxf(v, -1.f), 1.f);
    y[10 * n + i] = powf(fabsf(v), 1.5f);
}

extern "C" __global__ void integers(const int* x, const int* z, long long* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int a = x[i], b = z[i];
    unsigned ua = a, ub = b;
    y[i] = a / (b | 1);
    y[n + i] = a % (b | 1);
    y[2 * n + i] = ua / (ub | 1u);
    y[3 * n + i] = (long long)a * b;
    y[4 * n + i] = __mulhi(a, b);
    y[5 * n + i] = __popc(ua) + __clz(a) * 64 + __ffs(a) * 4096;
    y[6 * n + i] = __brev(ua);
    y[7 * n + i] = __byte_perm(ua, ub, 0x3715);
    y[8 * n + i] = __funnelshift_l(ua, ub, 5);
    y[9 * n + i] = ((long long)a << 20) / ((long long)b * b + 1);
    y[10 * n + i] = (short)a * (short)b;
    y[11 * n + i] = (unsigned char)a + (signed char)b;
    y[12 * n + i] = max(a, b) - min(a, b);
    y[13 * n + i] = __dp4a(a, b, 5);
    y[14 * n + i] = __usad(ua, ub, 3u);
}
