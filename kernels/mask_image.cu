// Masked images, as Score-CAM and its kin let the network see them, from features and images that are on the device.
//   mask m is about channel k of image n:
//   y[m,y,x,c] = image[n,y,x,c] * (bilinear((features[n,i,j,k] - low) * scale) + deviation * noise(stream, y*W+x)),  c < 3
//   and 0 for the padding channels after the third
//   mask_image_{f32_c4,f16_c3,f16_c8,bf16_c3,bf16_c8} where all deviations are 0, mask_image_noise_* for any
//   image f32 [N, H, W, 3]   features T [N, h, w, C]   rows Tap [H]   columns Tap [W]   masks Mask [M]
//   segments f32 [32, 4], of the noise's levels   y T [M, H, W, CHANNELS]
//   image, columns, segments, y 16-byte aligned (y of c3 in images of odd sizes: as its elements)
//   grid (blocks of an image, M, 1)   block (THREADS, 1, 1)   smem 4*h*w bytes, at most 48 KiB, and 64 (c3: 48) for each thread
//   Each operation is rounded by itself, so that the values are the CPU's bits before they are rounded to T.
//   byte floor: images and features once, y once
//   Warps read and write whole sectors where images are whole quads and, for the columns' taps, rows are. One channel of the
//   features has a number in each of h*w sectors. The noise's levels are computed, from what lies in the registers of a warp's lanes.
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

// Four positions share one number, 16 bits each, of which the upper 12 choose a level: a polynomial in 8192 times the share of the
// distribution beyond it. Of that its exponent and the uppermost bit of its mantissa choose the segment, which is that of a lane. All
// lanes of a warp call together.
__device__ __forceinline__ float noise(const float4& segment, unsigned long long stream, int quad, int inside) {
    const unsigned long long word = splitmix(stream + ((unsigned long long)quad + 1) * GAMMA);
    const unsigned level = (unsigned)(word >> (16 * inside + 4)) & (LEVELS - 1);
    const bool is_upper = level >= LEVELS / 2;
    const float share = (float)(int)(2 * (is_upper ? LEVELS - 1 - level : level) + 1);
    const int lane = __float_as_uint(share) >> 22 & 31;
    float v = __shfl_sync(0xffffffffu, segment.w, lane);
    v = __fadd_rn(__shfl_sync(0xffffffffu, segment.z, lane), __fmul_rn(share, v));
    v = __fadd_rn(__shfl_sync(0xffffffffu, segment.y, lane), __fmul_rn(share, v));
    v = __fadd_rn(__shfl_sync(0xffffffffu, segment.x, lane), __fmul_rn(share, v));
    return is_upper ? v : -v;
}

__device__ __forceinline__ Tap load_tap(const Tap* __restrict__ taps, int at) {
    const int* words = reinterpret_cast<const int*>(taps + at);
    return {__ldg(words), __ldg(words + 1), __int_as_float(__ldg(words + 2))};
}

// What of the mask does not depend on the pixel.
template <bool NOISE>
struct Channel {
    const float* cells; // shared, scaled
    float4 segment;     // this lane's
    int cells_w;
    float deviation;
    unsigned long long stream;

    // The mask at pixel `inside` of `quad`: down first, then across. With noise all lanes of a warp call together.
    __device__ __forceinline__ float value(const Tap& row, const Tap& column, int quad, int inside) const {
        const float* low = cells + row.low * cells_w;
        const float* high = cells + row.high * cells_w;
        const float left = mix(row.weight, low[column.low], high[column.low]);
        const float right = mix(row.weight, low[column.high], high[column.high]);
        const float value = mix(column.weight, left, right);
        if (!NOISE || deviation == 0.f) return value;
        return __fadd_rn(value, __fmul_rn(deviation, noise(segment, stream, quad, inside)));
    }
};

// Lanes have neighbouring quads, a warp moves neighbouring units: between the two lies shared memory. This is where unit `unit` of
// a lane's UNITS lies in it, so that neither the lanes that have one each nor those that move 128 neighbouring bytes share a bank.
template <int UNITS>
__device__ __forceinline__ int place(int lane, int unit) {
    static_assert(UNITS == 3 || UNITS == 4, "an odd number of units, or a swizzle of pairs of lanes");
    return lane * UNITS + (UNITS == 3 ? unit : unit ^ lane / 2 % UNITS);
}

// This lane's three units of those that `from(unit)` has for the warp.
template <typename From>
__device__ __forceinline__ void take(float4 (&own)[3], float4* staged, From&& from) {
    const int lane = threadIdx.x % 32;
    __syncwarp(); // all are done with what was staged before
#pragma unroll
    for (int i = 0; i < 3; ++i) staged[i * 32 + lane] = from(i * 32 + lane);
    __syncwarp(); // the units of all lanes are there
#pragma unroll
    for (int i = 0; i < 3; ++i) own[i] = staged[place<3>(lane, i)];
}

// A quad in memory: a unit for each pixel, or of three halves three units for four.
template <typename T, int CHANNELS> struct QuadSink {
    using Unit = uint4;
    static constexpr int UNITS = QUAD;
    static_assert(CHANNELS * sizeof(T) == sizeof(Unit), "a pixel is a unit");
    static __device__ __forceinline__ void stage(Unit* staged, int lane, const float (&v)[QUAD][3]) {
#pragma unroll
        for (int i = 0; i < QUAD; ++i)
            Pixel<T, CHANNELS>::store(reinterpret_cast<T*>(staged + place<UNITS>(lane, i)), v[i][0], v[i][1], v[i][2]);
    }
};
template <> struct QuadSink<f16, 3> {
    using Unit = uint2;
    static constexpr int UNITS = 3;
    static __device__ __forceinline__ void stage(Unit* staged, int lane, const float (&v)[QUAD][3]) {
        staged[place<3>(lane, 0)] = make_uint2(ptx::f16x2_from_f32(v[0][0], v[0][1]), ptx::f16x2_from_f32(v[0][2], v[1][0]));
        staged[place<3>(lane, 1)] = make_uint2(ptx::f16x2_from_f32(v[1][1], v[1][2]), ptx::f16x2_from_f32(v[2][0], v[2][1]));
        staged[place<3>(lane, 2)] = make_uint2(ptx::f16x2_from_f32(v[2][2], v[3][0]), ptx::f16x2_from_f32(v[3][1], v[3][2]));
    }
};

#if __CUDA_ARCH__ >= 800
template <> struct QuadSink<bf16, 3> {
    using Unit = uint2;
    static constexpr int UNITS = 3;
    static __device__ __forceinline__ void stage(Unit* staged, int lane, const float (&v)[QUAD][3]) {
        staged[place<3>(lane, 0)] = make_uint2(ptx::bf16x2_from_f32(v[0][0], v[0][1]), ptx::bf16x2_from_f32(v[0][2], v[1][0]));
        staged[place<3>(lane, 1)] = make_uint2(ptx::bf16x2_from_f32(v[1][1], v[1][2]), ptx::bf16x2_from_f32(v[2][0], v[2][1]));
        staged[place<3>(lane, 2)] = make_uint2(ptx::bf16x2_from_f32(v[2][2], v[3][0]), ptx::bf16x2_from_f32(v[3][1], v[3][2]));
    }
};
#endif

// Where the four pixels of a quad lie.
struct QuadTaps {
    Tap rows[QUAD], columns[QUAD];

    // Rows are whole quads; all lanes of the warp call together.
    __device__ __forceinline__ void load(const Tap* __restrict__ all_rows, const Tap* __restrict__ all_columns, int quads_of_row,
                                         int quad, float4* staged) {
        const int column = quad % quads_of_row;
        float4 words[3];
        take(words, staged, [&](int unit) {
            return __ldg(reinterpret_cast<const float4*>(all_columns) + __shfl_sync(0xffffffffu, column, unit / 3) * 3 + unit % 3);
        });
        columns[0] = {__float_as_int(words[0].x), __float_as_int(words[0].y), words[0].z};
        columns[1] = {__float_as_int(words[0].w), __float_as_int(words[1].x), words[1].y};
        columns[2] = {__float_as_int(words[1].z), __float_as_int(words[1].w), words[2].x};
        columns[3] = {__float_as_int(words[2].y), __float_as_int(words[2].z), words[2].w};
        const Tap row = load_tap(all_rows, quad / quads_of_row);
#pragma unroll
        for (int i = 0; i < QUAD; ++i) rows[i] = row;
    }

    // A quad may go on in the next row.
    __device__ __forceinline__ void load_each(const Tap* __restrict__ all_rows, const Tap* __restrict__ all_columns, int w, int quad) {
        int row = quad * QUAD / w, column = quad * QUAD % w;
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
            rows[i] = load_tap(all_rows, row);
            columns[i] = load_tap(all_columns, column);
            if (++column == w) column = 0, ++row;
        }
    }
};

template <typename T, int CHANNELS, bool NOISE>
__device__ __forceinline__ void mask_image(const float* __restrict__ image, const T* __restrict__ features,
                                           const Tap* __restrict__ rows, const Tap* __restrict__ columns,
                                           const Mask* __restrict__ masks, const float4* __restrict__ segments,
                                           T* __restrict__ y_out, const MaskImageParams& params) {
    using Sink = QuadSink<T, CHANNELS>;
    using Unit = typename Sink::Unit;
    constexpr int STAGED = Sink::UNITS; // float4 of a lane: its pixels are three, and its units take no more than so many
    extern __shared__ float cells[]; // [h, w]
    __shared__ float4 stages[THREADS * STAGED];
    const Mask mask = masks[blockIdx.y];
    const int count = params.cells_h * params.cells_w, pixels = params.h * params.w;
    const T* feature = features + (size_t)mask.image * count * params.channels + mask.channel;
    for (int cell = threadIdx.x; cell < count; cell += THREADS)
        cells[cell] = __fmul_rn(__fsub_rn(to_f32(feature[(size_t)cell * params.channels]), mask.low), mask.scale);
    __syncthreads(); // every thread reads what others have scaled

    const int lane = threadIdx.x % 32;
    const float4 segment = NOISE ? __ldg(segments + lane) : make_float4(0.f, 0.f, 0.f, 0.f);
    const Channel<NOISE> channel{cells, segment, params.cells_w, mask.deviation, mask.stream};
    image += (size_t)mask.image * pixels * 3;
    T* y = y_out + (size_t)blockIdx.y * pixels * CHANNELS;
    const int step = gridDim.x * THREADS;
    if (pixels % QUAD != 0) { // images do not begin at multiples of 16 bytes
        for (int base = blockIdx.x * THREADS + threadIdx.x / 32 * 32; base < pixels; base += step) { // by whole warps
            const int at = min(base + lane, pixels - 1);
            const Tap row = load_tap(rows, at / params.w), column = load_tap(columns, at % params.w);
            const float m = channel.value(row, column, at / QUAD, at % QUAD);
            if (base + lane >= pixels) break;
            const float* pixel = image + (size_t)at * 3;
            Pixel<T, CHANNELS>::store(y + (size_t)at * CHANNELS, __fmul_rn(__ldg(pixel), m), __fmul_rn(__ldg(pixel + 1), m),
                                      __fmul_rn(__ldg(pixel + 2), m));
        }
        return;
    }
    const int quads = pixels / QUAD;
    float4* const staged = stages + threadIdx.x / 32 * 32 * STAGED; // of the warp
    for (int base = blockIdx.x * THREADS + threadIdx.x / 32 * 32; base < quads; base += step) { // by whole warps
        const int quad = min(base + lane, quads - 1), left = quads - base;
        QuadTaps taps;
        if (params.w % QUAD == 0) taps.load(rows, columns, params.w / QUAD, quad, staged);
        else taps.load_each(rows, columns, params.w, quad);
        float4 own[3];
        take(own, staged, [&](int unit) {
            return unit < left * 3 ? __ldg(reinterpret_cast<const float4*>(image) + (size_t)base * 3 + unit) : make_float4(0.f, 0.f, 0.f, 0.f);
        });
        float v[QUAD][3] = {{own[0].x, own[0].y, own[0].z},
                            {own[0].w, own[1].x, own[1].y},
                            {own[1].z, own[1].w, own[2].x},
                            {own[2].y, own[2].z, own[2].w}};
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
            const float m = channel.value(taps.rows[i], taps.columns[i], quad, i);
#pragma unroll
            for (int j = 0; j < 3; ++j) v[i][j] = __fmul_rn(v[i][j], m);
        }
        Unit* const units = reinterpret_cast<Unit*>(staged);
        __syncwarp(); // all have taken their pixels
        Sink::stage(units, lane, v);
        __syncwarp(); // the quads of all lanes are there
        Unit* const to = reinterpret_cast<Unit*>(y) + (size_t)base * Sink::UNITS;
#pragma unroll
        for (int i = 0; i < Sink::UNITS; ++i) {
            const int unit = i * 32 + lane;
            if (unit < left * Sink::UNITS) to[unit] = units[place<Sink::UNITS>(unit / Sink::UNITS, unit % Sink::UNITS)];
        }
    }
}

#define MASK_IMAGE_ENTRY(NAME, T, CHANNELS, NOISE)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
        NAME(const float* __restrict__ image, const T* __restrict__ features, const Tap* __restrict__ rows,             \
             const Tap* __restrict__ columns, const Mask* __restrict__ masks, const float4* __restrict__ segments,      \
             T* __restrict__ y, const MaskImageParams params, const Step step) {                                        \
        begin_step(step);                                                                                               \
        mask_image<T, CHANNELS, NOISE>(image, features, rows, columns, masks, segments, y, params);                     \
    }
#define MASK_IMAGE(SUFFIX, T, CHANNELS)                                                                                 \
    MASK_IMAGE_ENTRY(mask_image_##SUFFIX, T, CHANNELS, false)                                                           \
    MASK_IMAGE_ENTRY(mask_image_noise_##SUFFIX, T, CHANNELS, true)

MASK_IMAGE(f32_c4, float, 4)
MASK_IMAGE(f16_c3, f16, 3)
MASK_IMAGE(f16_c8, f16, 8)
#if __CUDA_ARCH__ >= 800
MASK_IMAGE(bf16_c3, bf16, 3)
MASK_IMAGE(bf16_c8, bf16, 8)
#endif
