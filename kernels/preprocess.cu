// From a decoded picture to the network's input: antialiased resize with Pillow's bytes, crop, normalisation.
//   One kernel per pass, which filters one axis in fixed point and rounds to bytes, as resize.cuh has it.
//   resize_{horizontal,vertical}_u8: the first pass, u8 RGB -> u8 RGB, rows packed; or the second without the tensor, which writes the crop
//   resize_{horizontal,vertical}_normalise_{f32_c3,f32_c4,f16_c3,f16_c4,f16_c8,bf16_c3,bf16_c8}: the second pass, which writes the crop's bytes,
//     black where the crop is larger than the picture, and the tensor: y[h,w,c] = (byte / 255 - mean[c]) / std[c], each step rounded to
//     f32, channels past the third 0
//   in u8 RGB, any row pitch   first i32 [outputs]   weight i32 [outputs, taps], padded with 0   normalisation f32 [2, 3]: mean, std
//   horizontal: first and taps are multiples of GROUP, weight is 16-byte aligned
//   crop u8 [H, W, 3]   y f32, f16 or bf16 [H, W, CHANNELS], one image; 16-byte aligned (f16_c4: 8, c3: as its elements)
//   grid (ceil(W/TILE_W), ceil(H/TILE_H), 1), horizontal (ceil(W/TILE_W), ceil(H/ROWS), 1)   block (TILE_W, TILE_H, 1)
//   shared memory: horizontal 19.6 KB, whatever the picture
//   Weights and the order of the passes come from the host, which has them from the CPU's own code, so that all bytes are the CPU's;
//   values are because each step is rounded as there.
//   byte floor of both passes: the part of the source that the weights reach once, the picture between the passes written
//   and read once, crop and tensor once, weights once
#include "pixels.cuh"
#include "resize.cuh"

constexpr int THREADS = TILE_W * TILE_H;

enum class Axis { Horizontal, Vertical };

// Of a multiprocessor, at least: left to itself, the compiler makes room for more and spills.
constexpr __host__ __device__ int blocks(Axis axis) { return axis == Axis::Horizontal ? 4 : 1; }

// The warp's segment of row y of `out`, which has `out_w` pixels a row.
__device__ __forceinline__ void store_bytes(unsigned char* out, int out_w, int x0, int y, const Segment& segment) {
    unsigned char* row = out + (size_t)y * out_w * 3;
    #pragma unroll
    for (int j = 0; j < 3; ++j) {
        const int byte = x0 * 3 + j * 32 + threadIdx.x;
        if (byte < out_w * 3) row[byte] = (unsigned char)segment.v[j];
    }
}

__device__ __forceinline__ float normalised(const float* __restrict__ normalisation, int c, unsigned byte) {
    return __fdiv_rn(__fsub_rn(__fdiv_rn((float)byte, 255.f), __ldg(normalisation + c)), __ldg(normalisation + 3 + c));
}

// The segment's values in row y of the tensor.
template <typename T, int CHANNELS>
__device__ __forceinline__ void store_values(T* out, const float* __restrict__ normalisation, int out_w, int x0, int y,
                                             const Segment& segment) {
    T* row = out + (size_t)y * out_w * CHANNELS;
    if constexpr (CHANNELS == 3) {
        #pragma unroll
        for (int j = 0; j < 3; ++j) {
            const int byte = j * 32 + threadIdx.x;
            if (x0 * 3 + byte < out_w * 3) row[x0 * 3 + byte] = from_f32<T>(normalised(normalisation, byte % 3, segment.v[j]));
        }
    } else {
        const int x = x0 + threadIdx.x;
        const float r = normalised(normalisation, 0, segment.channel(0)), g = normalised(normalisation, 1, segment.channel(1)),
                    b = normalised(normalisation, 2, segment.channel(2));
        if (x < out_w) Pixel<T, CHANNELS>::store(row + (size_t)x * CHANNELS, r, g, b);
    }
}

// Calls `use` with the place and the pixels of each segment of the warp: black where the picture does not reach.
template <Axis AXIS, typename Use>
__device__ __forceinline__ void segments(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                         const int* __restrict__ weight, const ResizeParams& params, Use use) {
    const int x0 = blockIdx.x * TILE_W;
    if constexpr (AXIS == Axis::Horizontal) {
        __shared__ Across across;
        const int y0 = blockIdx.y * ROWS;
        filter_across(across, in, first, weight, params, x0 - params.at_x, y0 - params.at_y);
        for (int r = threadIdx.y; r < ROWS && y0 + r < params.out_h; r += TILE_H) use(x0, y0 + r, across.segment(r));
    } else {
        const int y = blockIdx.y * TILE_H + threadIdx.y, seen_y = y - params.at_y;
        if (y >= params.out_h) return; // the whole warp
        const bool seen = seen_y >= 0 && seen_y < params.seen_h;
        use(x0, y, seen ? filter_down(in, first, weight, params, x0 - params.at_x, seen_y) : Segment{{0, 0, 0}});
    }
}

template <Axis AXIS>
__device__ __forceinline__ void resize(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                       const int* __restrict__ weight, unsigned char* __restrict__ out,
                                       const ResizeParams& params) {
    segments<AXIS>(in, first, weight, params,
                   [&](int x0, int y, const Segment& segment) { store_bytes(out, params.out_w, x0, y, segment); });
}

template <Axis AXIS, typename T, int CHANNELS>
__device__ __forceinline__ void resize_normalise(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                                 const int* __restrict__ weight, const float* __restrict__ normalisation,
                                                 unsigned char* __restrict__ crop, T* __restrict__ y_out,
                                                 const ResizeParams& params) {
    segments<AXIS>(in, first, weight, params, [&](int x0, int y, const Segment& segment) {
        store_bytes(crop, params.out_w, x0, y, segment);
        store_values<T, CHANNELS>(y_out, normalisation, params.out_w, x0, y, segment);
    });
}

#define RESIZE(NAME, AXIS)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, blocks(AXIS))                                                 \
        NAME##_u8(const unsigned char* __restrict__ in, const int* __restrict__ first, const int* __restrict__ weight,  \
                  unsigned char* __restrict__ out, const ResizeParams params, const Step step) {                        \
        begin_step(step);                                                                                               \
        resize<AXIS>(in, first, weight, out, params);                                                                   \
    }                                                                                                                   \
    RESIZE_NORMALISE(NAME##_normalise_f32_c3, AXIS, float, 3)                                                           \
    RESIZE_NORMALISE(NAME##_normalise_f32_c4, AXIS, float, 4)                                                           \
    RESIZE_NORMALISE(NAME##_normalise_f16_c3, AXIS, f16, 3)                                                             \
    RESIZE_NORMALISE(NAME##_normalise_f16_c4, AXIS, f16, 4)                                                             \
    RESIZE_NORMALISE(NAME##_normalise_f16_c8, AXIS, f16, 8)

#define RESIZE_NORMALISE(NAME, AXIS, T, CHANNELS)                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS, blocks(AXIS))                                                 \
        NAME(const unsigned char* __restrict__ in, const int* __restrict__ first, const int* __restrict__ weight,       \
             const float* __restrict__ normalisation, unsigned char* __restrict__ crop, T* __restrict__ y,              \
             const ResizeParams params, const Step step) {                                                              \
        begin_step(step);                                                                                               \
        resize_normalise<AXIS, T, CHANNELS>(in, first, weight, normalisation, crop, y, params);                         \
    }

RESIZE(resize_horizontal, Axis::Horizontal)
RESIZE(resize_vertical, Axis::Vertical)
#if __CUDA_ARCH__ >= 800
RESIZE_NORMALISE(resize_horizontal_normalise_bf16_c3, Axis::Horizontal, bf16, 3)
RESIZE_NORMALISE(resize_vertical_normalise_bf16_c3, Axis::Vertical, bf16, 3)
RESIZE_NORMALISE(resize_horizontal_normalise_bf16_c8, Axis::Horizontal, bf16, 8)
RESIZE_NORMALISE(resize_vertical_normalise_bf16_c8, Axis::Vertical, bf16, 8)
#endif
