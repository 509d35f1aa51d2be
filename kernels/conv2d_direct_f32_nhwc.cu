// 2-D convolution in f32, as a tiled product without tensor cores.
//   y[n,p,q,k] = epi( sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * w[k,r,s,c] )
//   x f32 NHWC   w f32 KRSC   bias f32 [K]   residual, y f32 NPQK
//   pointers 16-byte aligned, C % VECTOR == 0, K % VECTOR == 0
//   grid (ceil(gemm_m/BM), ceil(gemm_n/BN), 1)   block (64, 1, 1): two warps of 32x64, 8x8 outputs per thread
//   smem 2*(BM+BN+8)*BK*4 bytes = 8.5 KiB
//   bytes: a warp reads whole sectors where rows of x and w begin at them (C a multiple of 8), and writes them where those of y do
//   taps outside the image are zero; residue rows and columns are masked, never read past the end
#include "conv2d.cuh"

// BM BN BK and VECTOR come from the table of variants (src/cuda/variants.rs).
constexpr int THREADS = 64;
constexpr int LANES = BK / VECTOR;    // neighbouring lanes that load a row's BK elements, so that a warp reads whole sectors
constexpr int PASS = THREADS / LANES; // rows that the block loads at a time
constexpr int ROWS = BM / PASS;       // of either tile that a thread loads a part of
static_assert(VECTOR == 4, "a thread reads and writes 16 bytes at a time");
static_assert(BM == BN && BM % PASS == 0, "a thread loads as many rows of either tile");
static_assert(WM == 32 && WN == 64 && STAGES == 2, "a warp's lanes are 4 groups of rows by 8 groups of columns");
// Both tiles have gemm_k as the slow index. The reads below take 16 bytes from 4 (a) or 8 (b) neighbouring places. A store goes to
// rows of gemm_k that lie VECTOR apart and to 32 / LANES neighbouring columns, of which the skew makes 32 neighbouring banks.
constexpr int PITCH = BM + 4;
static_assert(PITCH % 4 == 0, "16-byte reads");
static_assert(VECTOR * PITCH % 32 == 32 / LANES, "stores without bank conflicts");

struct Smem {
    float a[BK][PITCH];
    float b[BK][PITCH];
};
static_assert(sizeof(Smem) == (BM + BN + 8) * BK * 4, "the host asks for two of them");

// This thread's VECTOR columns of gemm_k, of ROWS rows of either tile. Places are 32-bit indices: arrays hold less than 2^31
// elements, and an index that wraps is one that is not used.
struct Gather {
    const float* x;
    const float* w;
    unsigned pixel[ROWS];       // element at tap (0, 0) of the output pixel; outside the image near its border
    int h0[ROWS], w0[ROWS];     // that pixel's row and column; a residue row has an h0 that no tap brings into the image
    unsigned filter;            // element that the first row of w begins with
    int filters_left;           // from that row on
    int r, s, c, k;             // place in gemm_k
    int step_r, step_s, step_c; // from one tile to the next

    __device__ Gather(const float* x, const float* w, const Conv2dParams& p) : x(x), w(w) {
        const int first = threadIdx.x / LANES, n = blockIdx.y * BN + first;
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            const int m = blockIdx.x * BM + first + i * PASS;
            const int image = m / (p.p * p.q), inside = m % (p.p * p.q);
            h0[i] = m < p.gemm_m ? inside / p.q * p.stride - p.pad : p.h;
            w0[i] = inside % p.q * p.stride - p.pad;
            pixel[i] = ((unsigned)(image * p.h + h0[i]) * p.w + w0[i]) * p.c;
        }
        filter = (unsigned)n * p.gemm_k;
        filters_left = p.k - n;
        k = threadIdx.x % LANES * VECTOR;
        split(k, p, r, s, c);
        split(BK, p, step_r, step_s, step_c);
    }

    static __device__ void split(int k, const Conv2dParams& p, int& r, int& s, int& c) {
        c = k % p.c, s = k / p.c % p.s, r = k / p.c / p.s;
    }

    // Reads this thread's part of the next tile, zero outside, and goes on.
    __device__ void load(const Conv2dParams& p, float (&a)[ROWS][VECTOR], float (&b)[ROWS][VECTOR]) {
        const bool deep = k < p.gemm_k;
        const unsigned tap = (unsigned)(r * p.w + s) * p.c + c;
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            const bool inside = (unsigned)(h0[i] + r) < (unsigned)p.h && (unsigned)(w0[i] + s) < (unsigned)p.w;
#pragma unroll
            for (int j = 0; j < VECTOR; ++j) a[i][j] = b[i][j] = 0.f;
            if (deep && inside) Vector<VECTOR, float>::load(x + (pixel[i] + tap), a[i]);
            if (deep && i * PASS < filters_left) Vector<VECTOR, float>::load(w + (filter + i * PASS * p.gemm_k + k), b[i]);
        }
        k += BK;
        c += step_c, s += step_s, r += step_r;
        if (c >= p.c) c -= p.c, ++s; // C is a multiple of VECTOR
        if (s >= p.s) s -= p.s, ++r;
    }
};

// Stores what `load` read.
__device__ inline void store(Smem& smem, const float (&a)[ROWS][VECTOR], const float (&b)[ROWS][VECTOR]) {
    const int first = threadIdx.x / LANES, k = threadIdx.x % LANES * VECTOR;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) {
            smem.a[k + j][first + i * PASS] = a[i][j];
            smem.b[k + j][first + i * PASS] = b[i][j];
        }
    }
}

// Thread's outputs: rows m and m + 16, four each, of its warp's 32; columns n and n + 32, four each.
__device__ inline void multiply(const Smem& smem, float (&acc)[8][8], int m, int n) {
#pragma unroll
    for (int kk = 0; kk < BK; ++kk) {
        float rows[8], columns[8];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            *(float4*)&rows[half * 4] = *(const float4*)&smem.a[kk][m + half * 16];
            *(float4*)&columns[half * 4] = *(const float4*)&smem.b[kk][n + half * 32];
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int j = 0; j < 8; ++j) acc[i][j] += rows[i] * columns[j];
        }
    }
}

// The thread's sums through the epilogue to y, 16 bytes at a time.
template <typename Epilogue>
__device__ void finish(float* y, const Epilogue& epilogue, const Conv2dParams& p, const float (&acc)[8][8], int m, int n) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int row = blockIdx.x * BM + m + i / 4 * 16 + i % 4;
        if (row >= p.gemm_m) continue;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int k = blockIdx.y * BN + n + half * 32;
            if (k >= p.k) continue; // a vector is inside or outside: K is a multiple of VECTOR
            float v[VECTOR];
#pragma unroll
            for (int l = 0; l < VECTOR; ++l) v[l] = acc[i][half * 4 + l];
            const size_t at = (size_t)row * p.k + k;
            epilogue(v, k, at);
            Vector<VECTOR, float>::store(y + at, v);
        }
    }
}

// The filters of this block's columns on their way to L2; blocks that share them leave it to the first, which begins first.
__device__ inline void prefetch_filters(const float* w, const Conv2dParams& p) {
    const int first = blockIdx.y * BN, count = min(BN, p.k - first);
    if (blockIdx.x == 0 && threadIdx.x == 0) prefetch_part(w + (size_t)first * p.gemm_k, (unsigned)count * p.gemm_k, 0, 1);
}

template <typename Epilogue>
__device__ void conv2d(const float* x, const float* w, float* y, const Epilogue& epilogue, const Conv2dParams& p, const Step& step) {
    extern __shared__ __align__(16) unsigned char memory[];
    Smem* const stages = (Smem*)memory; // STAGES of them
    const int lane = threadIdx.x % 32;
    const int m = threadIdx.x / 32 * WM + lane / 8 * 4, n = lane % 8 * 4;
    float acc[8][8] = {}, a[ROWS][VECTOR], b[ROWS][VECTOR];
    Gather gather(x, w, p);
    prefetch_filters(w, p);
    begin_step(step);
    gather.load(p, a, b);
    store(stages[0], a, b);
    __syncthreads(); // the first tile is there
    int stage = 0;
    for (int depth = 0; depth < p.gemm_k; depth += BK) {
        gather.load(p, a, b); // the next tile, zeros after the last, while this one is multiplied
        multiply(stages[stage], acc, m, n);
        stage ^= 1;
        store(stages[stage], a, b); // its readers passed the barrier of the step before
        __syncthreads();
    }
    finish(y, epilogue, p, acc, m, n);
}

#define NAMED_VECTOR_(epilogue, v) conv2d_direct_f32_nhwc_v##v##_##epilogue
#define NAMED_VECTOR(epilogue, v) NAMED_VECTOR_(epilogue, v)
#define ENTRY(epilogue) extern "C" __global__ void __launch_bounds__(THREADS) NAMED_VECTOR(epilogue, VECTOR)

ENTRY(none)(const float* x, const float* w, float* y, Conv2dParams p, const Step step) { conv2d(x, w, y, None{}, p, step); }
ENTRY(bias)(const float* x, const float* w, const float* bias, float* y, Conv2dParams p, const Step step) {
    conv2d(x, w, y, Bias{bias}, p, step);
}
ENTRY(bias_relu)(const float* x, const float* w, const float* bias, float* y, Conv2dParams p, const Step step) {
    conv2d(x, w, y, BiasRelu{{bias}}, p, step);
}
ENTRY(bias_residual_relu)
(const float* x, const float* w, const float* bias, const float* residual, float* y, Conv2dParams p, const Step step) {
    conv2d(x, w, y, BiasResidualRelu<float>{{bias}, residual}, p, step);
}
