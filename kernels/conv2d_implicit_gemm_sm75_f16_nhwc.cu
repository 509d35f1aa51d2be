// 2-D convolution as implicit GEMM on tensor cores, for devices of capability 7.5, which have no asynchronous copies.
//   y[n,p,q,k] = epi( sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * w[k,r,s,c] )
//   x f16 NHWC   w f16 KRSC   bias f32 [K]   residual, y f16 NPQK    pointers 16-byte aligned, C % 8 == 0, K % 8 == 0
//   grid (ceil(gemm_m/BM), ceil(gemm_n/BN), 1)   block (THREADS, 1, 1)
//   smem 2*(BM+BN)*BK*2 bytes: 64x64x32 = 16 KiB; the next tile waits in registers
//   f32 accumulation; taps outside the image are zero; residue rows and columns are masked, never read past the end
//   sm_75: ldmatrix, mma.m16n8k8
#include "conv2d_implicit_gemm.cuh"

static_assert(STAGES == 2, "one stage is multiplied, the other filled from registers");

// The next tile on its way through registers.
struct Staged {
    uint4 a[A_ROWS], b[B_ROWS];

    __device__ void load(const Gather& gather, const Conv2dParams& p) {
        const auto fetch = [](const f16* from, bool valid) { return valid ? *(const uint4*)from : make_uint4(0, 0, 0, 0); };
        int i = 0, j = 0;
        gather.a(p, [&](int, const f16* from, bool valid) { a[i++] = fetch(from, valid); });
        gather.b(p, [&](int, const f16* from, bool valid) { b[j++] = fetch(from, valid); });
    }

    __device__ void store(Stage& stage) const {
        const int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) stage.a[swizzled(row + i * PASS, chunk)] = a[i];
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) stage.b[swizzled(row + i * PASS, chunk)] = b[i];
    }
};

template <typename Epilogue>
__device__ void conv2d(const f16* x, const f16* w, f16* y, const Epilogue& epilogue, const Conv2dParams& p) {
    extern __shared__ __align__(128) unsigned char memory[];
    Smem& smem = *(Smem*)memory;
    float acc[MMA_M][MMA_N][4] = {};
    Gather gather(x, w, p);
    Staged staged;
    staged.load(gather, p);
    staged.store(smem.stage[0]);
    __syncthreads();
    const int tiles = ceil_div(p.gemm_k, BK);
    for (int t = 0; t < tiles; ++t) {
        const bool more = t + 1 < tiles;
        if (more) {
            gather.advance(p);
            staged.load(gather, p); // in flight during the product
        }
        multiply(smem.stage[t % 2], acc);
        if (more) staged.store(smem.stage[(t + 1) % 2]); // its readers passed the barrier of the step before
        __syncthreads();
    }
    store(smem, acc, y, epilogue, p);
}

#define FORM conv2d_implicit_gemm_sm75_f16_nhwc
ENTRIES
