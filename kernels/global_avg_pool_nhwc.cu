// Global average pooling.
//   y[n,c] = sum_{h,w} x[n,h,w,c] / (H*W)
//   x f32, f16 or bf16 NHWC   y f32 [N, C]   pointers 16-byte aligned, C % VEC == 0 (4 for f32, 8 for f16)
//   grid (ceil(C/VEC / CHUNKS), N, 1)   block (CHUNKS, ROWS, 1)   smem ROWS*(VEC*PLANE+8)*4 bytes, at most 13 KiB
//   f32 accumulation: each of ROWS threads sums every ROWS-th position, then the sums are added in a fixed order
//   byte floor: x once (a warp reads whole 128-byte lines), y once
#include "elements.cuh"

struct GlobalAvgPoolParams {
    int positions; // H*W
    int c;
};
static_assert(sizeof(GlobalAvgPoolParams) == 8, "the host's twin has 8 bytes");

constexpr int THREADS = CHUNKS * ROWS;
static_assert(CHUNKS * 16 == 128, "the threads of one row read a whole line");

template <typename T, int VEC>
__device__ __forceinline__ void global_avg_pool(const T* RESTRICT_ACTIVATION x, float* __restrict__ y,
                                                const GlobalAvgPoolParams& params) {
    // Of a row of threads: the first channels of all, the second ones, and so on. With these distances the four rows of a warp
    // write to different banks, and so do the lanes that read 32 neighbouring channels.
    constexpr int PLANE = VEC == 8 ? 12 : 8;
    struct Smem {
        float sums[ROWS][VEC * PLANE + 8];
    };
    __shared__ Smem smem;
    const int first = blockIdx.x * CHUNKS * VEC; // the block's first channel
    const int c = first + threadIdx.x * VEC;
    const size_t n = blockIdx.y;

    float sums[VEC] = {};
    if (c < params.c) {
        const T* image = x + n * params.positions * params.c + c;
        // Four loads in flight: at batch 1 there are too few warps to hide one load's latency.
        #pragma unroll 4
        for (int i = threadIdx.y; i < params.positions; i += ROWS) {
            const Pack<T, VEC> values = Pack<T, VEC>::load(image + (size_t)i * params.c);
            #pragma unroll
            for (int v = 0; v < VEC; ++v) sums[v] += values.get(v);
        }
    }
    #pragma unroll
    for (int v = 0; v < VEC; ++v) smem.sums[threadIdx.y][v * PLANE + threadIdx.x] = sums[v];
    __syncthreads(); // the sums of all rows are there

    const int thread = threadIdx.y * CHUNKS + threadIdx.x;
    if (thread < CHUNKS * VEC && first + thread < params.c) {
        const int at = thread % VEC * PLANE + thread / VEC;
        float total = 0.f;
        #pragma unroll
        for (int row = 0; row < ROWS; ++row) total += smem.sums[row][at];
        y[n * params.c + first + thread] = total / (float)params.positions;
    }
}

#define GLOBAL_AVG_POOL(NAME, T, VEC)                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        NAME(const T* RESTRICT_ACTIVATION x, float* __restrict__ y, const GlobalAvgPoolParams params,        \
             const Step step) {                                                                              \
        begin_step(step);                                                                                    \
        global_avg_pool<T, VEC>(x, y, params);                                                               \
    }

GLOBAL_AVG_POOL(global_avg_pool_f32_nhwc, float, 4)
GLOBAL_AVG_POOL(global_avg_pool_f16_nhwc, f16, 8)
#if __CUDA_ARCH__ >= 800
GLOBAL_AVG_POOL(global_avg_pool_bf16_nhwc, bf16, 8)
#endif
