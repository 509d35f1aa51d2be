// Linear layer on the mean over positions, in one launch.
//   mean[n,c] = sum_p x[n,p,c] / P            y[n,k] = bias[k] + sum_c mean[n,c] * w[k,c]
//   x f32, f16 or bf16 [N, P, C]   w the same type [K, C]   bias f32 [K]   mean f32 [N, C] or null   y f32 [N, K]
//   pointers 16-byte aligned, C % VEC == 0 (4 for f32 weights, 8 for f16); linear_f32_f16 and linear_f32_bf16 have x in f32
//   grid (ceil(K / per_block), ceil(N / IMAGES), 1)   block (WARPS*32, 1, 1)
//   smem 4*C*IMAGES*rows + 4*IMAGES*per_block bytes, rows as in `Layout`
//   Every block computes the means of its IMAGES images again: at 7x7 positions that takes less time than a launch of its own.
//   The first block of an image group writes them where `mean` is not null. Then its warps share the block's classes.
//   f32 accumulation in a fixed order
//   two builds: IMAGES 1 for small batches; 4 reads a weight once for four images
//   byte floor: x, w, bias once, mean and y once; x is read ceil(K/per_block) times, w ceil(N/IMAGES) times, mostly from L2
#include "elements.cuh"

struct LinearParams {
    int n, positions, c, k;
    int per_block; // classes of a block: a multiple of 8, so that blocks share no sector of y
};
static_assert(sizeof(LinearParams) == 20, "the host's twin has 20 bytes");

constexpr int THREADS = WARPS * 32;
constexpr int LOADS = 16; // of a thread in flight: at batch 1 there are too few warps to hide the latency of each

extern __shared__ float4 dynamic_smem[];

// Sums in shared memory: VEC/4 planes of float4 [rows][IMAGES][chunks], so that neighbouring threads have neighbouring float4
// whatever C is. At the end the first row of each plane holds the means.
struct Layout {
    int chunks; // of VEC channels
    int rows;   // that share an image's positions; the launcher asks for as much memory
    int plane;  // float4 of a plane

    __device__ Layout(int c, int vec) {
        chunks = c / vec;
        rows = max(THREADS / chunks / IMAGES, 1);
        plane = rows * IMAGES * chunks;
    }
};

// The means of images n0 to n0 + IMAGES - 1; those past the last are 0.
template <typename X, int VEC>
__device__ __forceinline__ void means(const X* RESTRICT_ACTIVATION x, float* __restrict__ mean, int n0, const Layout& at,
                                      const LinearParams& params) {
    constexpr int EACH = 16 / sizeof(X); // channels of a load
    for_each_part<VEC / EACH, THREADS>(at.plane, [&](int part, int slot) {
        const int chunk = slot % at.chunks, item = slot / at.chunks;
        const int n = n0 + item % IMAGES, row = item / IMAGES;
        float sums[EACH] = {};
        if (n < params.n) {
            const X* image = x + (size_t)n * params.positions * params.c + chunk * VEC + part * EACH;
            for (int first = row; first < params.positions; first += LOADS * at.rows) {
                Pack<X, EACH> values[LOADS] = {};
                #pragma unroll
                for (int i = 0; i < LOADS; ++i) {
                    const int position = first + i * at.rows;
                    if (position < params.positions) values[i] = Pack<X, EACH>::load(image + (size_t)position * params.c);
                }
                #pragma unroll
                for (int i = 0; i < LOADS; ++i)
                    #pragma unroll
                    for (int v = 0; v < EACH; ++v) sums[v] += values[i].get(v);
            }
        }
        #pragma unroll
        for (int four = 0; four < EACH / 4; ++four)
            dynamic_smem[(part * (EACH / 4) + four) * at.plane + slot] =
                make_float4(sums[four * 4], sums[four * 4 + 1], sums[four * 4 + 2], sums[four * 4 + 3]);
    });
    __syncthreads(); // the rows' sums are there

    const int row = IMAGES * at.chunks;
    const float positions = (float)params.positions;
    for_each_part<VEC / 4, THREADS>(row, [&](int part, int slot) {
        float4 total = dynamic_smem[part * at.plane + slot];
        for (int i = 1; i < at.rows; ++i) {
            const float4 more = dynamic_smem[part * at.plane + i * row + slot];
            total = {total.x + more.x, total.y + more.y, total.z + more.z, total.w + more.w};
        }
        total = {total.x / positions, total.y / positions, total.z / positions, total.w / positions};
        dynamic_smem[part * at.plane + slot] = total;
        const int n = n0 + slot / at.chunks;
        if (mean && blockIdx.x == 0 && n < params.n)
            *reinterpret_cast<float4*>(mean + (size_t)n * params.c + slot % at.chunks * VEC + part * 4) = total;
    });
    __syncthreads(); // the means are there
}

template <typename X, typename W, int VEC>
__device__ __forceinline__ void linear(const X* RESTRICT_ACTIVATION x, const W* __restrict__ w,
                                       const float* __restrict__ bias, float* __restrict__ mean, float* __restrict__ y,
                                       const LinearParams& params, const Step& step) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int n0 = blockIdx.y * IMAGES;
    const int begin = blockIdx.x * params.per_block, end = min(begin + params.per_block, params.k);
    const Layout at(params.c, VEC);
    float* const scores = reinterpret_cast<float*>(dynamic_smem + VEC / 4 * at.plane); // [IMAGES][per_block]
    if (blockIdx.y == 0 && threadIdx.x == 0 && begin < end) {
        prefetch_part(w + (size_t)begin * params.c, (unsigned)(end - begin) * params.c, 0, 1);
        prefetch_part(bias + begin, end - begin, 0, 1); // whole 16 bytes: up to three at the end are left out
    }
    begin_step(step);
    means<X, VEC>(x, mean, n0, at, params);

    for (int first = begin + warp; first < end; first += WARPS * OUTPUTS) {
        float sums[OUTPUTS][IMAGES] = {};
        #pragma unroll 2
        for (int chunk = lane; chunk < at.chunks; chunk += 32) {
            Pack<W, VEC> weights[OUTPUTS] = {};
            #pragma unroll
            for (int o = 0; o < OUTPUTS; ++o)
                if (first + o * WARPS < end)
                    weights[o] = Pack<W, VEC>::load(w + (size_t)(first + o * WARPS) * params.c + chunk * VEC);
            #pragma unroll
            for (int i = 0; i < IMAGES; ++i)
                #pragma unroll
                for (int part = 0; part < VEC / 4; ++part) {
                    const float4 four = dynamic_smem[part * at.plane + i * at.chunks + chunk];
                    #pragma unroll
                    for (int o = 0; o < OUTPUTS; ++o) {
                        sums[o][i] = fmaf(four.x, weights[o].get(part * 4), sums[o][i]);
                        sums[o][i] = fmaf(four.y, weights[o].get(part * 4 + 1), sums[o][i]);
                        sums[o][i] = fmaf(four.z, weights[o].get(part * 4 + 2), sums[o][i]);
                        sums[o][i] = fmaf(four.w, weights[o].get(part * 4 + 3), sums[o][i]);
                    }
                }
        }
        #pragma unroll
        for (int o = 0; o < OUTPUTS; ++o)
            #pragma unroll
            for (int i = 0; i < IMAGES; ++i) {
                const float total = warp_sum(sums[o][i]);
                if (lane == 0 && first + o * WARPS < end) scores[i * params.per_block + first + o * WARPS - begin] = total;
            }
    }
    __syncthreads(); // the scores are there: written together, they fill whole sectors
    for (int i = threadIdx.x; i < IMAGES * params.per_block; i += THREADS) {
        const int n = n0 + i / params.per_block, k = begin + i % params.per_block;
        if (n < params.n && k < end) y[(size_t)n * params.k + k] = scores[i] + bias[k];
    }
}

#define LINEAR(NAME, X, W, VEC)                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                 \
        NAME(const X* RESTRICT_ACTIVATION x, const W* __restrict__ w, const float* __restrict__ bias,        \
             float* __restrict__ mean, float* __restrict__ y, const LinearParams params, const Step step) {  \
        linear<X, W, VEC>(x, w, bias, mean, y, params, step);                                                \
    }

LINEAR(linear_f32, float, float, 4)
LINEAR(linear_f16, f16, f16, 8)
LINEAR(linear_f32_f16, float, f16, 8)
#if __CUDA_ARCH__ >= 800
LINEAR(linear_bf16, bf16, bf16, 8)
LINEAR(linear_f32_bf16, float, bf16, 8)
#endif
