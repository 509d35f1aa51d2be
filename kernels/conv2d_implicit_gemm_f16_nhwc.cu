// 2-D convolution as implicit GEMM on tensor cores, for devices of capability 8.0 up.
//   y[n,p,q,k] = epi( sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * w[k,r,s,c] )
//   x f16 NHWC   w f16 KRSC   bias f32 [K]   residual, y f16 NPQK    pointers 16-byte aligned, C % 8 == 0, K % 8 == 0
//   grid (ceil(gemm_m/BM), ceil(gemm_n/BN), 1)   block (THREADS, 1, 1)
//   smem STAGES*(BM+BN)*BK*2 bytes: 64x64x32, 3 stages = 24 KiB
//   f32 accumulation; taps outside the image are zero; residue rows and columns are masked, never read past the end
//   sm_80: cp.async, ldmatrix, mma.m16n8k16
#include "conv2d_implicit_gemm.cuh"

static_assert(STAGES >= 2, "a copy runs while a stage is multiplied");

// Starts this thread's copies of one tile; the caller closes the group.
__device__ inline void load(Stage& stage, const Gather& gather, const Conv2dParams& p) {
    gather.a(p, [&](int at, const f16* from, bool valid) { ptx::cp_async_16(ptx::shared_address(&stage.a[at]), from, valid); });
    gather.b(p, [&](int at, const f16* from, bool valid) { ptx::cp_async_16(ptx::shared_address(&stage.b[at]), from, valid); });
}

template <typename Epilogue>
__device__ void conv2d(const f16* x, const f16* w, f16* y, const Epilogue& epilogue, const Conv2dParams& p) {
    extern __shared__ __align__(128) unsigned char memory[];
    Smem& smem = *(Smem*)memory;
    float acc[MMA_M][MMA_N][4] = {};
    Gather gather(x, w, p);
    const int tiles = ceil_div(p.gemm_k, BK);

    // One group per tile, empty past the last one, so that the wait below always counts the same.
#pragma unroll
    for (int t = 0; t < STAGES - 1; ++t) {
        if (t < tiles) {
            load(smem.stage[t], gather, p);
            gather.advance(p);
        }
        ptx::cp_async_commit();
    }
    int current = 0, next = STAGES - 1;
    for (int t = 0; t < tiles; ++t) {
        ptx::cp_async_wait<STAGES - 2>(); // this thread's part of tile t has arrived,
        __syncthreads();                  // everyone's has; and everyone is done with the stage that is filled next
        if (t + STAGES - 1 < tiles) {
            load(smem.stage[next], gather, p);
            gather.advance(p);
        }
        ptx::cp_async_commit();
        multiply(smem.stage[current], acc);
        current = current + 1 == STAGES ? 0 : current + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    ptx::cp_async_wait<0>();
    __syncthreads(); // the epilogue reuses the stages
    store(smem, acc, y, epilogue, p);
}

#define FORM conv2d_implicit_gemm_f16_nhwc
ENTRIES
