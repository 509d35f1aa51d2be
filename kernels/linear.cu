// Linear layer.
//   y[n,k] = bias[k] + sum_c x[n,c] * w[k,c]
//   x f32 [N, C]   w f32 or f16 [K, C]   bias f32 [K]   y f32 [N, K]   pointers 16-byte aligned, C % VEC == 0 (4 for f32, 8 for f16)
//   a warp computes OUTPUTS of K for IMAGES of N, its lanes splitting C; f32 accumulation in a fixed order
//   grid (ceil(K / (WARPS*OUTPUTS)), ceil(N / IMAGES), 1)   block (WARPS*32, 1, 1)   no shared memory
//   two builds: OUTPUTS 1, IMAGES 1 has the most blocks, for small batches; 4 and 8 reads a weight once for eight images
//   byte floor: w ceil(N/IMAGES) times, x ceil(K/OUTPUTS) times from L1 and L2, y once
#include "elements.cuh"

struct LinearParams {
    int n, c, k;
};
static_assert(sizeof(LinearParams) == 12, "the host's twin has 12 bytes");

constexpr int THREADS = WARPS * 32;
static_assert(OUTPUTS * IMAGES <= 32, "one lane stores each result");

template <typename T, int VEC>
__device__ __forceinline__ void linear(const float* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias,
                                       float* __restrict__ y, const LinearParams& params) {
    const int lane = threadIdx.x % 32;
    const int k0 = (blockIdx.x * WARPS + threadIdx.x / 32) * OUTPUTS;
    const int n0 = blockIdx.y * IMAGES;
    if (k0 >= params.k) return; // whole warps leave; there is no barrier below

    float sums[OUTPUTS][IMAGES] = {};
    // Rows beyond the last are read as the last one and not stored: no branch in the loop, no read past the end.
    #pragma unroll(OUTPUTS == 1 ? 4 : 1)
    for (int c = lane * VEC; c < params.c; c += 32 * VEC) {
        Pack<T, VEC> weights[OUTPUTS];
        #pragma unroll
        for (int o = 0; o < OUTPUTS; ++o)
            weights[o] = Pack<T, VEC>::load(w + (size_t)min(k0 + o, params.k - 1) * params.c + c);
        #pragma unroll
        for (int i = 0; i < IMAGES; ++i) {
            const float* values = x + (size_t)min(n0 + i, params.n - 1) * params.c + c;
            #pragma unroll
            for (int part = 0; part < VEC / 4; ++part) {
                const Pack<float, 4> four = Pack<float, 4>::load(values + part * 4);
                #pragma unroll
                for (int o = 0; o < OUTPUTS; ++o)
                    #pragma unroll
                    for (int v = 0; v < 4; ++v) sums[o][i] = fmaf(four.get(v), weights[o].get(part * 4 + v), sums[o][i]);
            }
        }
    }
    #pragma unroll
    for (int o = 0; o < OUTPUTS; ++o)
        #pragma unroll
        for (int i = 0; i < IMAGES; ++i) {
            const float total = warp_sum(sums[o][i]); // every lane gets it; lane i*OUTPUTS+o stores it
            if (lane == i * OUTPUTS + o && k0 + o < params.k && n0 + i < params.n)
                y[(size_t)(n0 + i) * params.k + k0 + o] = total + bias[k0 + o];
        }
}

#define LINEAR(NAME, T, VEC)                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        NAME(const float* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias,           \
             float* __restrict__ y, const LinearParams params) {                                             \
        linear<T, VEC>(x, w, bias, y, params);                                                               \
    }

LINEAR(linear_f32, float, 4)
LINEAR(linear_f16, f16, 8)
#if __CUDA_ARCH__ >= 800
LINEAR(linear_bf16, bf16, 8)
#endif
