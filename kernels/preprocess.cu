// From a decoded picture to the network's input: antialiased resize with Pillow's bytes, crop, normalisation.
//   One kernel per pass. A pass filters one axis in 22-bit fixed point and rounds to bytes:
//     out[y,x,:] = clip((2^21 + sum_t weight[t,at] * in[first[at]+t along the axis, :]) >> 22),   at = x (horizontal) or y (vertical)
//   resize_{horizontal,vertical}_u8: the first pass, u8 RGB -> u8 RGB, rows packed
//   resize_{horizontal,vertical}_normalise_{f32_c3,f32_c4,f16_c3,f16_c4,f16_c8,bf16_c3,bf16_c8}: the second pass, which also writes the crop's bytes,
//     black where the crop is larger than the picture, and the tensor: y[h,w,c] = table[c][byte], channels past the third 0
//   resize_{horizontal,vertical}_crop_u8: the second pass without the tensor
//   in u8 RGB, any row pitch   first i32 [outputs]   weight i32 [taps, outputs], padded with 0   table f32 [3, 256]
//   crop u8 [H, W, 3]   y f32, f16 or bf16 [H, W, CHANNELS], one image; 16-byte aligned (f16_c4: 8, c3: as its elements)
//   grid (ceil(W/TILE_W), ceil(H/TILE_H), 1)   block (TILE_W, TILE_H, 1)   no shared memory
//   Weights, their order of the passes and the table come from the host, which has them from the CPU's own code, so that all
//   bytes and values are the CPU's.
//   byte floor of both passes: the part of the source that the weights reach once, the picture between the passes written
//   and read once, crop and tensor once, weights once
#include "common.cuh"

struct ResizeParams {
    int in_pitch;       // bytes from one row of the input to the next
    int outputs;        // along the filtered axis
    int taps;           // most weights that one output has
    int seen_w, seen_h; // pixels that this pass computes
    int at_x, at_y;     // where they lie in the output
    int out_w, out_h;   // the output
};
static_assert(sizeof(ResizeParams) == 36, "the host's twin has 36 bytes");

constexpr int THREADS = TILE_W * TILE_H;
constexpr int PRECISION_BITS = 22;

enum class Axis { Horizontal, Vertical };

struct Rgb {
    unsigned r, g, b;
};

__device__ __forceinline__ unsigned to_byte(int sum) { return (unsigned)min(max(sum >> PRECISION_BITS, 0), 255); }

// The pixel (x, y) of those that the pass computes.
template <Axis AXIS>
__device__ __forceinline__ Rgb filter(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                      const int* __restrict__ weight, const ResizeParams& params, int x, int y) {
    const int at = AXIS == Axis::Horizontal ? x : y;
    const size_t step = AXIS == Axis::Horizontal ? 3 : params.in_pitch;
    const size_t start = __ldg(first + at);
    const unsigned char* pixel = AXIS == Axis::Horizontal ? in + (size_t)y * params.in_pitch + start * 3
                                                          : in + start * params.in_pitch + (size_t)x * 3;
    int r = 1 << (PRECISION_BITS - 1), g = r, b = r; // one half, so that the shift rounds
    for (int t = 0; t < params.taps; ++t) {
        const int w = __ldg(weight + (size_t)t * params.outputs + at);
        // A run shorter than the longest is filled up with zeros, and what lies there may be past the picture's end.
        if (w != 0) {
            r += w * __ldg(pixel);
            g += w * __ldg(pixel + 1);
            b += w * __ldg(pixel + 2);
        }
        pixel += step;
    }
    return {to_byte(r), to_byte(g), to_byte(b)};
}

__device__ __forceinline__ void store_rgb(unsigned char* at, const Rgb& pixel) {
    at[0] = (unsigned char)pixel.r;
    at[1] = (unsigned char)pixel.g;
    at[2] = (unsigned char)pixel.b;
}

template <typename T, int CHANNELS> struct Sink;

template <> struct Sink<float, 3> {
    static __device__ __forceinline__ void store(float* y, size_t pixel, float r, float g, float b) {
        y[pixel * 3] = r;
        y[pixel * 3 + 1] = g;
        y[pixel * 3 + 2] = b;
    }
};
template <> struct Sink<float, 4> {
    static __device__ __forceinline__ void store(float* y, size_t pixel, float r, float g, float b) {
        reinterpret_cast<float4*>(y)[pixel] = make_float4(r, g, b, 0.f);
    }
};
template <> struct Sink<f16, 3> {
    static __device__ __forceinline__ void store(f16* y, size_t pixel, float r, float g, float b) {
        y[pixel * 3] = from_f32<f16>(r);
        y[pixel * 3 + 1] = from_f32<f16>(g);
        y[pixel * 3 + 2] = from_f32<f16>(b);
    }
};
template <> struct Sink<f16, 4> {
    static __device__ __forceinline__ void store(f16* y, size_t pixel, float r, float g, float b) {
        reinterpret_cast<uint2*>(y)[pixel] = make_uint2(ptx::f16x2_from_f32(r, g), ptx::f16x2_from_f32(b, 0.f));
    }
};
template <> struct Sink<f16, 8> {
    static __device__ __forceinline__ void store(f16* y, size_t pixel, float r, float g, float b) {
        reinterpret_cast<uint4*>(y)[pixel] = make_uint4(ptx::f16x2_from_f32(r, g), ptx::f16x2_from_f32(b, 0.f), 0u, 0u);
    }
};
#if __CUDA_ARCH__ >= 800
template <> struct Sink<bf16, 3> {
    static __device__ __forceinline__ void store(bf16* y, size_t pixel, float r, float g, float b) {
        y[pixel * 3] = from_f32<bf16>(r);
        y[pixel * 3 + 1] = from_f32<bf16>(g);
        y[pixel * 3 + 2] = from_f32<bf16>(b);
    }
};
template <> struct Sink<bf16, 8> {
    static __device__ __forceinline__ void store(bf16* y, size_t pixel, float r, float g, float b) {
        reinterpret_cast<uint4*>(y)[pixel] = make_uint4(ptx::bf16x2_from_f32(r, g), ptx::bf16x2_from_f32(b, 0.f), 0u, 0u);
    }
};
#endif

template <Axis AXIS>
__device__ __forceinline__ void resize(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                       const int* __restrict__ weight, unsigned char* __restrict__ out,
                                       const ResizeParams& params) {
    const int x = blockIdx.x * TILE_W + threadIdx.x, y = blockIdx.y * TILE_H + threadIdx.y;
    if (x >= params.seen_w || y >= params.seen_h) return;
    store_rgb(out + ((size_t)y * params.out_w + x) * 3, filter<AXIS>(in, first, weight, params, x, y));
}

// The pixel (x, y) of the crop: black where the picture does not reach.
template <Axis AXIS>
__device__ __forceinline__ Rgb cut(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                   const int* __restrict__ weight, const ResizeParams& params, int x, int y) {
    const int seen_x = x - params.at_x, seen_y = y - params.at_y;
    if (seen_x >= 0 && seen_x < params.seen_w && seen_y >= 0 && seen_y < params.seen_h)
        return filter<AXIS>(in, first, weight, params, seen_x, seen_y);
    return {0, 0, 0};
}

template <Axis AXIS>
__device__ __forceinline__ void resize_crop(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                            const int* __restrict__ weight, unsigned char* __restrict__ crop,
                                            const ResizeParams& params) {
    const int x = blockIdx.x * TILE_W + threadIdx.x, y = blockIdx.y * TILE_H + threadIdx.y;
    if (x >= params.out_w || y >= params.out_h) return;
    store_rgb(crop + ((size_t)y * params.out_w + x) * 3, cut<AXIS>(in, first, weight, params, x, y));
}

template <Axis AXIS, typename T, int CHANNELS>
__device__ __forceinline__ void resize_normalise(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                                 const int* __restrict__ weight, const float* __restrict__ table,
                                                 unsigned char* __restrict__ crop, T* __restrict__ y_out,
                                                 const ResizeParams& params) {
    const int x = blockIdx.x * TILE_W + threadIdx.x, y = blockIdx.y * TILE_H + threadIdx.y;
    if (x >= params.out_w || y >= params.out_h) return;
    const Rgb pixel = cut<AXIS>(in, first, weight, params, x, y);
    const size_t at = (size_t)y * params.out_w + x;
    store_rgb(crop + at * 3, pixel);
    Sink<T, CHANNELS>::store(y_out, at, __ldg(table + pixel.r), __ldg(table + 256 + pixel.g), __ldg(table + 512 + pixel.b));
}

#define RESIZE(NAME, AXIS)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME##_u8(const unsigned char* __restrict__ in, const int* __restrict__ first, const int* __restrict__ weight,  \
                  unsigned char* __restrict__ out, const ResizeParams params) {                                         \
        resize<AXIS>(in, first, weight, out, params);                                                                   \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME##_crop_u8(const unsigned char* __restrict__ in, const int* __restrict__ first,                             \
                       const int* __restrict__ weight, unsigned char* __restrict__ crop, const ResizeParams params) {   \
        resize_crop<AXIS>(in, first, weight, crop, params);                                                             \
    }                                                                                                                   \
    RESIZE_NORMALISE(NAME##_normalise_f32_c3, AXIS, float, 3)                                                           \
    RESIZE_NORMALISE(NAME##_normalise_f32_c4, AXIS, float, 4)                                                           \
    RESIZE_NORMALISE(NAME##_normalise_f16_c3, AXIS, f16, 3)                                                             \
    RESIZE_NORMALISE(NAME##_normalise_f16_c4, AXIS, f16, 4)                                                             \
    RESIZE_NORMALISE(NAME##_normalise_f16_c8, AXIS, f16, 8)

#define RESIZE_NORMALISE(NAME, AXIS, T, CHANNELS)                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME(const unsigned char* __restrict__ in, const int* __restrict__ first, const int* __restrict__ weight,       \
             const float* __restrict__ table, unsigned char* __restrict__ crop, T* __restrict__ y,                      \
             const ResizeParams params) {                                                                               \
        resize_normalise<AXIS, T, CHANNELS>(in, first, weight, table, crop, y, params);                                 \
    }

RESIZE(resize_horizontal, Axis::Horizontal)
RESIZE(resize_vertical, Axis::Vertical)
#if __CUDA_ARCH__ >= 800
RESIZE_NORMALISE(resize_horizontal_normalise_bf16_c3, Axis::Horizontal, bf16, 3)
RESIZE_NORMALISE(resize_vertical_normalise_bf16_c3, Axis::Vertical, bf16, 3)
RESIZE_NORMALISE(resize_horizontal_normalise_bf16_c8, Axis::Horizontal, bf16, 8)
RESIZE_NORMALISE(resize_vertical_normalise_bf16_c8, Axis::Vertical, bf16, 8)
#endif
