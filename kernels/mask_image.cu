// Masked images, as Score-CAM and its kin let the network see them, from features and images that are on the device.
//   mask m is about channel k of image n:
//   y[m,y,x,c] = image[n,y,x,c] * (bilinear((features[n,i,j,k] - low) * scale) + deviation * noise(stream, y*W+x)),  c < 3
//   and 0 for the padding channels after the third
//   mask_image_{f32_c4,f16_c3,f16_c8,bf16_c3,bf16_c8}
//   image f32 [N, H, W, 3]   features T [N, h, w, C]   rows Tap [H]   columns Tap [W]   masks Mask [M]
//   quantiles f32 [4096], the noise's levels   y T [M, H, W, CHANNELS]
//   image, y 16-byte aligned (y of c3 in images of odd sizes: as its elements)
//   grid (blocks of an image, M, 1)   block (THREADS, 1, 1)   smem 4*h*w bytes, at most 48 KiB
//   Each operation is rounded by itself, so that the values are the CPU's bits before they are rounded to T.
//   byte floor: images and features once, y once
#include "pixels.cuh"

// Between which rows or columns of cells a pixel lies; `low` has the rest of the weight.
struct Tap {
    int low, high;
    float weight; // of `high`
};
static_assert(sizeof(Tap) == 12, "the host's twin has 12 bytes");

struct Mask {
    int image, channel;
    float low, scale, deviation;
    int unused;
    unsigned long long stream;
};
static_assert(sizeof(Mask) == 32, "the host's twin has 32 bytes");

struct MaskImageParams {
    int h, w;             // of images
    int cells_h, cells_w; // of features
    int channels;         // of features
};
static_assert(sizeof(MaskImageParams) == 20, "the host's twin has 20 bytes");

constexpr int QUAD = 4; // neighbouring pixels of one thread
constexpr unsigned LEVELS = 4096;
constexpr unsigned long long GAMMA = 0x9e3779b97f4a7c15ull;

// splitmix64 (Steele et al., OOPSLA 2014): a number for each state.
__device__ __forceinline__ unsigned long long splitmix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// Four positions share one number, 16 bits each, of which the upper 12 choose a level.
__device__ __forceinline__ float noise(const float* __restrict__ quantiles, unsigned long long stream, int at) {
    const unsigned long long word = splitmix(stream + ((unsigned long long)(at / QUAD) + 1) * GAMMA);
    return __ldg(quantiles + ((unsigned)(word >> (16 * (at % QUAD) + 4)) & (LEVELS - 1)));
}

__device__ __forceinline__ Tap load_tap(const Tap* __restrict__ taps, int at) {
    const int* words = reinterpret_cast<const int*>(taps + at);
    return {__ldg(words), __ldg(words + 1), __int_as_float(__ldg(words + 2))};
}

// What of the mask does not depend on the thread.
struct Channel {
    const float* cells; // shared, scaled
    const Tap* rows;
    const Tap* columns;
    const float* quantiles;
    int w, cells_w;
    float deviation;
    unsigned long long stream;

    // The mask at pixel (x, y), number `at`: down first, then across.
    __device__ __forceinline__ float value(int x, int y, int at) const {
        const Tap row = load_tap(rows, y), column = load_tap(columns, x);
        const float* low = cells + row.low * cells_w;
        const float* high = cells + row.high * cells_w;
        const float left = mix(row.weight, low[column.low], high[column.low]);
        const float right = mix(row.weight, low[column.high], high[column.high]);
        const float value = mix(column.weight, left, right);
        return deviation == 0.f ? value : __fadd_rn(value, __fmul_rn(deviation, noise(quantiles, stream, at)));
    }
};

// Four pixels at once; `y` is where the first of them goes.
template <typename T, int CHANNELS> struct QuadSink {
    static __device__ __forceinline__ void store(T* y, const float (&v)[QUAD][3]) {
#pragma unroll
        for (int i = 0; i < QUAD; ++i) Pixel<T, CHANNELS>::store(y + i * CHANNELS, v[i][0], v[i][1], v[i][2]);
    }
};
template <> struct QuadSink<f16, 3> {
    static __device__ __forceinline__ void store(f16* y, const float (&v)[QUAD][3]) {
        uint2* out = reinterpret_cast<uint2*>(y); // 24 bytes
        out[0] = make_uint2(ptx::f16x2_from_f32(v[0][0], v[0][1]), ptx::f16x2_from_f32(v[0][2], v[1][0]));
        out[1] = make_uint2(ptx::f16x2_from_f32(v[1][1], v[1][2]), ptx::f16x2_from_f32(v[2][0], v[2][1]));
        out[2] = make_uint2(ptx::f16x2_from_f32(v[2][2], v[3][0]), ptx::f16x2_from_f32(v[3][1], v[3][2]));
    }
};

#if __CUDA_ARCH__ >= 800
template <> struct QuadSink<bf16, 3> {
    static __device__ __forceinline__ void store(bf16* y, const float (&v)[QUAD][3]) {
        uint2* out = reinterpret_cast<uint2*>(y); // 24 bytes
        out[0] = make_uint2(ptx::bf16x2_from_f32(v[0][0], v[0][1]), ptx::bf16x2_from_f32(v[0][2], v[1][0]));
        out[1] = make_uint2(ptx::bf16x2_from_f32(v[1][1], v[1][2]), ptx::bf16x2_from_f32(v[2][0], v[2][1]));
        out[2] = make_uint2(ptx::bf16x2_from_f32(v[2][2], v[3][0]), ptx::bf16x2_from_f32(v[3][1], v[3][2]));
    }
};
#endif

template <typename T, int CHANNELS>
__device__ __forceinline__ void mask_image(const float* __restrict__ image, const T* __restrict__ features,
                                           const Tap* __restrict__ rows, const Tap* __restrict__ columns,
                                           const Mask* __restrict__ masks, const float* __restrict__ quantiles,
                                           T* __restrict__ y_out, const MaskImageParams& params) {
    extern __shared__ float cells[]; // [h, w]
    const Mask mask = masks[blockIdx.y];
    const int count = params.cells_h * params.cells_w, pixels = params.h * params.w;
    const T* feature = features + (size_t)mask.image * count * params.channels + mask.channel;
    for (int cell = threadIdx.x; cell < count; cell += THREADS)
        cells[cell] = __fmul_rn(__fsub_rn(to_f32(feature[(size_t)cell * params.channels]), mask.low), mask.scale);
    __syncthreads(); // every thread reads what others have scaled

    const Channel channel{cells, rows, columns, quantiles, params.w, params.cells_w, mask.deviation, mask.stream};
    image += (size_t)mask.image * pixels * 3;
    T* y = y_out + (size_t)blockIdx.y * pixels * CHANNELS;
    const int first = blockIdx.x * THREADS + threadIdx.x, step = gridDim.x * THREADS;
    if (pixels % QUAD != 0) { // images do not begin at multiples of 16 bytes
        for (int at = first; at < pixels; at += step) {
            const float m = channel.value(at % params.w, at / params.w, at);
            const float* pixel = image + (size_t)at * 3;
            Pixel<T, CHANNELS>::store(y + (size_t)at * CHANNELS, __fmul_rn(__ldg(pixel), m), __fmul_rn(__ldg(pixel + 1), m),
                                      __fmul_rn(__ldg(pixel + 2), m));
        }
        return;
    }
    for (int quad = first; quad < pixels / QUAD; quad += step) {
        const int at = quad * QUAD;
        const float4* from = reinterpret_cast<const float4*>(image) + (size_t)quad * 3; // 48 bytes
        const float4 a = __ldg(from), b = __ldg(from + 1), c = __ldg(from + 2);
        float v[QUAD][3] = {{a.x, a.y, a.z}, {a.w, b.x, b.y}, {b.z, b.w, c.x}, {c.y, c.z, c.w}};
        int row = at / params.w, column = at % params.w;
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
            const float m = channel.value(column, row, at + i);
#pragma unroll
            for (int j = 0; j < 3; ++j) v[i][j] = __fmul_rn(v[i][j], m);
            if (++column == params.w) column = 0, ++row; // a quad may go on in the next row
        }
        QuadSink<T, CHANNELS>::store(y + (size_t)at * CHANNELS, v);
    }
}

#define MASK_IMAGE(NAME, T, CHANNELS)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME(const float* __restrict__ image, const T* __restrict__ features, const Tap* __restrict__ rows,             \
             const Tap* __restrict__ columns, const Mask* __restrict__ masks, const float* __restrict__ quantiles,      \
             T* __restrict__ y, const MaskImageParams params, const Step step) {                                        \
        begin_step(step);                                                                                               \
        mask_image<T, CHANNELS>(image, features, rows, columns, masks, quantiles, y, params);                           \
    }

MASK_IMAGE(mask_image_f32_c4, float, 4)
MASK_IMAGE(mask_image_f16_c3, f16, 3)
MASK_IMAGE(mask_image_f16_c8, f16, 8)
#if __CUDA_ARCH__ >= 800
MASK_IMAGE(mask_image_bf16_c3, bf16, 3)
MASK_IMAGE(mask_image_bf16_c8, bf16, 8)
#endif
