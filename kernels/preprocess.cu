// From a decoded picture to the network's input: antialiased resize with Pillow's bytes, crop, normalisation.
//   One kernel per pass. A pass filters one axis in 22-bit fixed point and rounds to bytes:
//     out[y,x,:] = clip((2^21 + sum_t weight[t,at] * in[first[at]+t along the axis, :]) >> 22),   at = x (horizontal) or y (vertical)
//   resize_{horizontal,vertical}_u8: the first pass, u8 RGB -> u8 RGB, rows packed
//   resize_{horizontal,vertical}_normalise_{f32_c3,f32_c4,f16_c3,f16_c4,f16_c8,bf16_c3,bf16_c8}: the second pass, which also writes the crop's bytes,
//     black where the crop is larger than the picture, and the tensor: y[h,w,c] = (byte / 255 - mean[c]) / std[c], each step rounded to
//     f32, channels past the third 0
//   resize_{horizontal,vertical}_crop_u8: the second pass without the tensor
//   in u8 RGB, any row pitch   first i32 [outputs]   weight i32 [taps, outputs], padded with 0   normalisation f32 [2, 3]: mean, std
//   crop u8 [H, W, 3]   y f32, f16 or bf16 [H, W, CHANNELS], one image; 16-byte aligned (f16_c4: 8, c3: as its elements)
//   grid (ceil(W/TILE_W), ceil(H/TILE_H), 1)   block (TILE_W, TILE_H, 1)   no shared memory
//   Weights and the order of the passes come from the host, which has them from the CPU's own code, so that all bytes are the CPU's;
//   values are because each step is rounded as there.
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
static_assert(TILE_W == 32, "a warp computes 32 pixels of one row");

enum class Axis { Horizontal, Vertical };

__device__ __forceinline__ unsigned to_byte(int sum) { return (unsigned)min(max(sum >> PRECISION_BITS, 0), 255); }

// A warp's 32 pixels of a row. Their 96 bytes lie next to each other in memory; lane l has bytes l, l + 32 and l + 64, so that the
// warp moves whole sectors.
struct Segment {
    unsigned v[3];

    // From and to one pixel a lane.
    static __device__ __forceinline__ Segment of(unsigned r, unsigned g, unsigned b) {
        const unsigned mine = r | g << 8 | b << 16;
        Segment all;
        #pragma unroll
        for (int j = 0; j < 3; ++j) {
            const int byte = j * 32 + threadIdx.x;
            all.v[j] = __shfl_sync(0xffffffffu, mine, byte / 3) >> byte % 3 * 8 & 255;
        }
        return all;
    }
    __device__ __forceinline__ unsigned channel(int c) const {
        const int byte = threadIdx.x * 3 + c;
        unsigned found = 0;
        #pragma unroll
        for (int j = 0; j < 3; ++j) {
            const unsigned other = __shfl_sync(0xffffffffu, v[j], byte % 32);
            if (byte / 32 == j) found = other;
        }
        return found;
    }
};

// The segment from pixel (x0, y) of those that the pass computes; y is one of them, and what lies beside them is black.
template <Axis AXIS>
__device__ __forceinline__ Segment filter(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                          const int* __restrict__ weight, const ResizeParams& params, int x0, int y) {
    // Across, a lane sums the channels of its pixel, whose weights are its own; down, three bytes of the segment.
    constexpr bool ACROSS = AXIS == Axis::Horizontal;
    const int x = x0 + (int)threadIdx.x;
    const bool has_pixel = x >= 0 && x < params.seen_w;
    const int at = ACROSS ? (has_pixel ? x : 0) : y;
    const size_t start = __ldg(first + at), step = ACROSS ? 3 : params.in_pitch;
    const unsigned char* row = in + (ACROSS ? y : start) * params.in_pitch + (ACROSS ? start * 3 : 0);
    int byte[3];
    bool inside[3];
    int sums[3];
    #pragma unroll
    for (int j = 0; j < 3; ++j) {
        byte[j] = ACROSS ? j : x0 * 3 + j * 32 + (int)threadIdx.x;
        inside[j] = ACROSS ? has_pixel : byte[j] >= 0 && byte[j] < params.seen_w * 3;
        sums[j] = 1 << (PRECISION_BITS - 1); // one half, so that the shift rounds
    }
    for (int t = 0; t < params.taps; ++t) {
        const int w = __ldg(weight + (size_t)t * params.outputs + at);
        // A run shorter than the longest is filled up with zeros, and what lies there may be past the picture's end.
        if (w != 0) {
            #pragma unroll
            for (int j = 0; j < 3; ++j) {
                if (inside[j]) sums[j] += w * __ldg(row + byte[j]);
            }
        }
        row += step;
    }
    unsigned found[3];
    #pragma unroll
    for (int j = 0; j < 3; ++j) found[j] = inside[j] ? to_byte(sums[j]) : 0;
    if (ACROSS) return Segment::of(found[0], found[1], found[2]);
    return {found[0], found[1], found[2]};
}

// The warp's segment of row y of `out`, which has `out_w` pixels a row.
__device__ __forceinline__ void store_bytes(unsigned char* out, int out_w, int x0, int y, const Segment& segment) {
    unsigned char* row = out + (size_t)y * out_w * 3;
    #pragma unroll
    for (int j = 0; j < 3; ++j) {
        const int byte = x0 * 3 + j * 32 + threadIdx.x;
        if (byte < out_w * 3) row[byte] = (unsigned char)segment.v[j];
    }
}

template <typename T, int CHANNELS> struct Pixel; // 16 bytes, of four halves 8

template <> struct Pixel<float, 4> {
    static __device__ __forceinline__ void store(float* y, float r, float g, float b) { *(float4*)y = make_float4(r, g, b, 0.f); }
};
template <> struct Pixel<f16, 4> {
    static __device__ __forceinline__ void store(f16* y, float r, float g, float b) {
        *(uint2*)y = make_uint2(ptx::f16x2_from_f32(r, g), ptx::f16x2_from_f32(b, 0.f));
    }
};
template <> struct Pixel<f16, 8> {
    static __device__ __forceinline__ void store(f16* y, float r, float g, float b) {
        *(uint4*)y = make_uint4(ptx::f16x2_from_f32(r, g), ptx::f16x2_from_f32(b, 0.f), 0u, 0u);
    }
};
#if __CUDA_ARCH__ >= 800
template <> struct Pixel<bf16, 8> {
    static __device__ __forceinline__ void store(bf16* y, float r, float g, float b) {
        *(uint4*)y = make_uint4(ptx::bf16x2_from_f32(r, g), ptx::bf16x2_from_f32(b, 0.f), 0u, 0u);
    }
};
#endif

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

template <Axis AXIS>
__device__ __forceinline__ void resize(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                       const int* __restrict__ weight, unsigned char* __restrict__ out,
                                       const ResizeParams& params) {
    const int x0 = blockIdx.x * TILE_W, y = blockIdx.y * TILE_H + threadIdx.y;
    if (y >= params.seen_h) return; // the whole warp
    store_bytes(out, params.out_w, x0, y, filter<AXIS>(in, first, weight, params, x0, y));
}

// The segment from pixel (x0, y) of the crop: black where the picture does not reach.
template <Axis AXIS>
__device__ __forceinline__ Segment cut(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                       const int* __restrict__ weight, const ResizeParams& params, int x0, int y) {
    const int seen_y = y - params.at_y;
    if (seen_y < 0 || seen_y >= params.seen_h) return {0, 0, 0};
    return filter<AXIS>(in, first, weight, params, x0 - params.at_x, seen_y);
}

template <Axis AXIS>
__device__ __forceinline__ void resize_crop(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                            const int* __restrict__ weight, unsigned char* __restrict__ crop,
                                            const ResizeParams& params) {
    const int x0 = blockIdx.x * TILE_W, y = blockIdx.y * TILE_H + threadIdx.y;
    if (y >= params.out_h) return; // the whole warp
    store_bytes(crop, params.out_w, x0, y, cut<AXIS>(in, first, weight, params, x0, y));
}

template <Axis AXIS, typename T, int CHANNELS>
__device__ __forceinline__ void resize_normalise(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                                 const int* __restrict__ weight, const float* __restrict__ normalisation,
                                                 unsigned char* __restrict__ crop, T* __restrict__ y_out,
                                                 const ResizeParams& params) {
    const int x0 = blockIdx.x * TILE_W, y = blockIdx.y * TILE_H + threadIdx.y;
    if (y >= params.out_h) return; // the whole warp
    const Segment segment = cut<AXIS>(in, first, weight, params, x0, y);
    store_bytes(crop, params.out_w, x0, y, segment);
    store_values<T, CHANNELS>(y_out, normalisation, params.out_w, x0, y, segment);
}

#define RESIZE(NAME, AXIS)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME##_u8(const unsigned char* __restrict__ in, const int* __restrict__ first, const int* __restrict__ weight,  \
                  unsigned char* __restrict__ out, const ResizeParams params, const Step step) {                        \
        begin_step(step);                                                                                               \
        resize<AXIS>(in, first, weight, out, params);                                                                   \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME##_crop_u8(const unsigned char* __restrict__ in, const int* __restrict__ first,                             \
                       const int* __restrict__ weight, unsigned char* __restrict__ crop, const ResizeParams params, const Step step) { \
        begin_step(step);                                                                                               \
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
