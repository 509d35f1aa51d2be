// 2-D convolution as implicit GEMM on tensor cores, for devices of capability 8.0 up.
//   y[n,p,q,k] = epi( sum_{r,s,c} x[n, p*stride-pad+r, q*stride-pad+s, c] * w[k,r,s,c] )
//   x f16 NHWC   w f16 KRSC   bias f32 [K]   residual, y f16 NPQK; all bf16 in the forms called so    pointers 16-byte aligned, K % 8 == 0
//   epi: + bias[k] and + residual[n,p,q,k], each unless it is null, then ReLU if asked for
//   C % BK == 0 and R*S <= 32 (conv2d_implicit_gemm_f16_nhwc), or C % 8 == 0 (conv2d_implicit_gemm_c8_f16_nhwc)
//   conv2d_implicit_gemm_projection_f16_nhwc ends a residual block whose shortcut is a convolution:
//   y[n,p,q,k] = relu(bias[k] + sum_{r,s,c} ... + sum_c x0[n, p*stride0, q*stride0, c] * w0[k,c]), C and C0 multiples of BK, gemm_k = R*S*C + C0
//   grid (ceil(gemm_m/BM), ceil(gemm_n/BN), splits)   block (THREADS, 1, 1); with splits > 1 a workspace of
//   16*splits*MMA_M*MMA_N*THREADS bytes a tile for partial sums, and a counter a tile: see conv2d_implicit_gemm_split.cuh
//   smem STAGES*(BM+BN)*BK*2 bytes: 128x128x32, 4 stages = 64 KiB
//   f32 accumulation, in the forms called f16_sums f16 within a tile's depth; taps outside the image are zero; residue rows and columns are masked, never read past the end
//   sm_80: cp.async, ldmatrix, mma.m16n8k16
#include "conv2d_implicit_gemm.cuh"

static_assert(STAGES >= 2, "a copy runs while a stage is multiplied");

// One group of asynchronous copies per tile.
struct Copies {
    unsigned a, b; // this thread's first row in stage 0

    __device__ explicit Copies(unsigned char* memory) {
        const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        a = ptx::shared_address(memory) + row * ROW_BYTES + swizzled(row, chunk) * 16;
        b = a + A_BYTES;
    }

    __device__ void start(unsigned stage, const Gather& gather) const {
        const auto copy = [](unsigned to) {
            return [to](int i, const Element* from, bool valid) { ptx::cp_async_16(to + i * PASS * ROW_BYTES, from, valid); };
        };
        gather.a(copy(a + stage));
        gather.b(copy(b + stage));
        ptx::cp_async_commit();
    }

    __device__ void land(unsigned) const { ptx::cp_async_wait<STAGES - 2>(); }
    __device__ void drain() const { ptx::cp_async_wait<0>(); }
};

#if ARITHMETIC == BF16 && PROJECTION
#define FORM conv2d_implicit_gemm_projection_bf16_nhwc
#elif ARITHMETIC == F16_SUMS && PROJECTION
#define FORM conv2d_implicit_gemm_projection_f16_sums_nhwc
#elif PROJECTION
#define FORM conv2d_implicit_gemm_projection_f16_nhwc
#elif ARITHMETIC == BF16 && WHOLE_TAPS
#define FORM conv2d_implicit_gemm_bf16_nhwc
#elif ARITHMETIC == BF16
#define FORM conv2d_implicit_gemm_c8_bf16_nhwc
#elif ARITHMETIC == F16_SUMS && WHOLE_TAPS
#define FORM conv2d_implicit_gemm_f16_sums_nhwc
#elif ARITHMETIC == F16_SUMS
#define FORM conv2d_implicit_gemm_c8_f16_sums_nhwc
#elif WHOLE_TAPS
#define FORM conv2d_implicit_gemm_f16_nhwc
#else
#define FORM conv2d_implicit_gemm_c8_f16_nhwc
#endif
ENTRY
