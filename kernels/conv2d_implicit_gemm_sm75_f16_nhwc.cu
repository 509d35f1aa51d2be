// 2-D convolution as implicit GEMM on tensor cores, for devices of capability 7.5, which have no asynchronous copies.
//   y[n,p,q,k] = epi( sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * w[k,r,s,c] )
//   x f16 NHWC   w f16 KRSC   bias f32 [K]   residual, y f16 NPQK    pointers 16-byte aligned, K % 8 == 0
//   epi: + bias[k] and + residual[n,p,q,k], each unless it is null, then ReLU if asked for
//   C % BK == 0 and R*S <= 32 (conv2d_implicit_gemm_sm75_f16_nhwc), or C % 8 == 0 (conv2d_implicit_gemm_sm75_c8_f16_nhwc)
//   conv2d_implicit_gemm_sm75_projection_f16_nhwc ends a residual block whose shortcut is a convolution:
//   y[n,p,q,k] = relu(bias[k] + sum_{r,s,c} ... + sum_c x0[n, p*stride0, q*stride0, c] * w0[k,c]), C and C0 multiples of BK, gemm_k = R*S*C + C0
//   grid (ceil(gemm_m/BM), ceil(gemm_n/BN), splits)   block (THREADS, 1, 1); with splits > 1 a workspace of
//   16*splits*MMA_M*MMA_N*THREADS bytes a tile for partial sums, and a counter a tile: see conv2d_implicit_gemm_split.cuh
//   smem 2*(BM+BN)*BK*2 bytes: 128x128x32 = 32 KiB; the next tile waits in registers
//   f32 accumulation, in the forms called f16_sums f16 within a tile's depth; taps outside the image are zero; residue rows and columns are masked, never read past the end
//   sm_75: ldmatrix, mma.m16n8k8
#include "conv2d_implicit_gemm.cuh"

static_assert(STAGES == 2, "one stage is multiplied, the other filled from registers");
static_assert(BN % PASS == 0, "every thread moves the same number of rows of B");

// The next tile, on its way through registers.
struct Copies {
    unsigned char* a; // this thread's first row in stage 0
    uint4 from_a[A_ROWS], from_b[B_ROWS];

    __device__ explicit Copies(unsigned char* memory) {
        const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        a = memory + row * ROW_BYTES + swizzled(row, chunk) * 16;
    }

    __device__ void start(unsigned, const Gather& gather) {
        const auto fetch = [](uint4* to) {
            return [to](int i, const Element* from, bool valid) { to[i] = valid ? *(const uint4*)from : make_uint4(0, 0, 0, 0); };
        };
        gather.a(fetch(from_a));
        gather.b(fetch(from_b));
    }

    __device__ void land(unsigned stage) const {
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) *(uint4*)(a + stage + i * PASS * ROW_BYTES) = from_a[i];
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) *(uint4*)(a + stage + A_BYTES + i * PASS * ROW_BYTES) = from_b[i];
    }

    __device__ void drain() const {}
};

#if ARITHMETIC == F16_SUMS && PROJECTION
#define FORM conv2d_implicit_gemm_sm75_projection_f16_sums_nhwc
#elif PROJECTION
#define FORM conv2d_implicit_gemm_sm75_projection_f16_nhwc
#elif ARITHMETIC == F16_SUMS && WHOLE_TAPS
#define FORM conv2d_implicit_gemm_sm75_f16_sums_nhwc
#elif ARITHMETIC == F16_SUMS
#define FORM conv2d_implicit_gemm_sm75_c8_f16_sums_nhwc
#elif WHOLE_TAPS
#define FORM conv2d_implicit_gemm_sm75_f16_nhwc
#else
#define FORM conv2d_implicit_gemm_sm75_c8_f16_nhwc
#endif
ENTRY
