// 2-D convolution in f32 for any shape, as a tiled product without tensor cores.
//   y[n,p,q,k] = epi( sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * w[k,r,s,c] )
//   x f32 NHWC   w f32 KRSC   bias f32 [K]   residual, y f32 NPQK
//   VECTOR 4: pointers 16-byte aligned, C % 4 == 0, K % 4 == 0;  VECTOR 1: anything
//   grid (ceil(gemm_m/BM), ceil(gemm_n/BN), 1)   block (64, 1, 1): two warps of 32x64, 8x8 outputs per thread
//   smem 2*(BM+BN)*BK*4 bytes = 16 KiB
//   taps outside the image are zero; residue rows and columns are masked, never read past the end
#include "conv2d.cuh"

// BM BN BK and VECTOR come from the table of variants (src/cuda/variants.rs).
constexpr int THREADS = 64;
static_assert(BM == THREADS && BN == THREADS, "each thread loads one row of either tile");
static_assert(BK % VECTOR == 0, "a row is loaded in whole vectors");
static_assert(WM == 32 && WN == 64 && STAGES == 2, "a warp's lanes are 4 groups of rows by 8 groups of columns");

// Both tiles with gemm_k as the slow index: a store of the loading threads fills one row of 64 words, and the reads below
// take 16 bytes from 4 (a) or 8 (b) neighbouring places, all without bank conflicts.
struct Smem {
    float a[2][BK][BM];
    float b[2][BK][BN];
};

// This thread's row of both tiles. All threads are at the same tap, so the walk along gemm_k costs little. Places are 32-bit
// indices: arrays hold less than 2^31 elements, and an index that wraps is one that is not used.
struct Gather {
    const float* x;
    const float* w_row;
    int pixel;  // of tap (0, 0) of the output pixel; outside the image near its border
    int h0, w0; // that pixel's row and column; a residue row has an h0 that no tap brings into the image
    bool w_valid;
    int r = 0, s = 0, c = 0, k = 0;

    __device__ Gather(const float* x, const float* w, const Conv2dParams& p) : x(x) {
        const int m = blockIdx.x * BM + threadIdx.x, n = blockIdx.y * BN + threadIdx.x;
        const int image = m / (p.p * p.q), inside = m % (p.p * p.q);
        h0 = m < p.gemm_m ? inside / p.q * p.stride - p.pad : p.h;
        w0 = inside % p.q * p.stride - p.pad;
        pixel = (image * p.h + h0) * p.w + w0;
        w_row = w + (long long)n * p.gemm_k;
        w_valid = n < p.k;
    }

    // Reads the next BK elements of both rows, zero outside, and goes on.
    __device__ void load(const Conv2dParams& p, float (&a)[BK], float (&b)[BK]) {
#pragma unroll
        for (int i = 0; i < BK; i += VECTOR) {
            const bool deep = k < p.gemm_k;
            const bool inside = (unsigned)(h0 + r) < (unsigned)p.h && (unsigned)(w0 + s) < (unsigned)p.w;
            float from_x[VECTOR] = {}, from_w[VECTOR] = {};
            if (deep && inside) Vector<VECTOR, float>::load(x + ((unsigned)(pixel + r * p.w + s) * p.c + c), from_x);
            if (deep && w_valid) Vector<VECTOR, float>::load(w_row + k, from_w);
#pragma unroll
            for (int j = 0; j < VECTOR; ++j) a[i + j] = from_x[j], b[i + j] = from_w[j];
            k += VECTOR;
            c += VECTOR;
            if (c == p.c) { // C is a multiple of VECTOR
                c = 0;
                if (++s == p.s) {
                    s = 0;
                    ++r;
                }
            }
        }
    }
};

// Thread's outputs: rows m and m + 16, four each, of its warp's 32; columns n and n + 32, four each.
__device__ inline void multiply(const float (&a)[BK][BM], const float (&b)[BK][BN], float (&acc)[8][8], int m, int n) {
#pragma unroll
    for (int kk = 0; kk < BK; ++kk) {
        float rows[8], columns[8];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            *(float4*)&rows[half * 4] = *(const float4*)&a[kk][m + half * 16];
            *(float4*)&columns[half * 4] = *(const float4*)&b[kk][n + half * 32];
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int j = 0; j < 8; ++j) acc[i][j] += rows[i] * columns[j];
        }
    }
}

// The filters of this block's columns on their way to L2; blocks that share them leave it to the first, which begins first.
__device__ inline void prefetch_filters(const float* w, const Conv2dParams& p) {
    const int first = blockIdx.y * BN, count = min(BN, p.k - first);
    if (VECTOR == 4 && blockIdx.x == 0 && threadIdx.x == 0) // their bytes are a multiple of 16
        ptx::prefetch_l2(w + (size_t)first * p.gemm_k, (unsigned)count * p.gemm_k * sizeof(float));
}

template <typename Epilogue>
__device__ void conv2d(const float* x, const float* w, float* y, const Epilogue& epilogue, const Conv2dParams& p, const Step& step) {
    extern __shared__ __align__(16) unsigned char memory[];
    Smem& smem = *(Smem*)memory;
    const int lane = threadIdx.x % 32;
    const int m = threadIdx.x / 32 * WM + lane / 8 * 4, n = lane % 8 * 4;
    float acc[8][8] = {}, a[BK], b[BK];
    Gather gather(x, w, p);
    prefetch_filters(w, p);
    begin_step(step);
    const int tiles = ceil_div(p.gemm_k, BK);
    // Step t loads tile t and multiplies tile t - 1 while the loads are in flight.
    for (int t = 0; t <= tiles; ++t) {
        if (t < tiles) gather.load(p, a, b);
        if (t > 0) multiply(smem.a[(t - 1) % 2], smem.b[(t - 1) % 2], acc, m, n);
        if (t < tiles) {
#pragma unroll
            for (int kk = 0; kk < BK; ++kk) {
                smem.a[t % 2][kk][threadIdx.x] = a[kk]; // its readers, of tile t - 2, passed the barrier of the step before
                smem.b[t % 2][kk][threadIdx.x] = b[kk];
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int row = blockIdx.x * BM + m + i / 4 * 16 + i % 4;
        if (row >= p.gemm_m) continue;
#pragma unroll
        for (int j = 0; j < 8; j += VECTOR) {
            const int k = blockIdx.y * BN + n + j / 4 * 32 + j % 4;
            if (k >= p.k) continue; // a vector is inside or outside: K is a multiple of VECTOR
            float v[VECTOR];
#pragma unroll
            for (int l = 0; l < VECTOR; ++l) v[l] = acc[i][j + l];
            const size_t at = (size_t)row * p.k + k;
            epilogue(v, k, at);
            Vector<VECTOR, float>::store(y + at, v);
        }
    }
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
