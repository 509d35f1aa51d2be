// Class activation maps and their bilinear enlargement in one pass (Zhou et al. 2016, eq. 2).
//   raw[n,m,y,x] = sum_c x[n,y,x,c] * w[class(n,m),c], or where `rows` is not null
//                  sum_c x[n,y,x,c] * rows[n,m,c] - offset(n,m), normalised as row n,m says
//   class(n,m): where `logits` is null, classes[n*class_stride + m]; else the class of rank m among the logits of image n, by
//     falling logit and rising class in the total order of IEEE 754 (a positive NaN comes first, -0 after +0), written to `index`
//   shown        = normalise(enlarge(raw[n,m]))                [out_h, out_w], half-pixel centres, edges clamped
//   x f32, f16 or bf16 NHWC   w the same type [K, C]   classes i32   logits f32 [N, K]   index i32 [N, M]
//   rows f32 [N, M, C + ROW_END], see cam_asked.cuh
//   pointers 16-byte aligned, C % VEC == 0 (4 for f32, 8 for f16)
//   A class that is not below `classes` reads no weights: its map is NaN.
//   raw f32 [N, M, h, w]   range f32 [N, M, 2]: least and greatest enlarged value, both NaN if a value is not finite
//   cam_upsample_{f32,f16,bf16}_{f32,f16,u8}: shown [N, M, out_h, out_w]; u8 is trunc(256 v) within 0..255, a colormap's entry
//   cam_overlay_{f32,f16,bf16} where `shift` is 0, cam_overlay_runs_{f32,f16,bf16} elsewhere: u8 RGB [N, M, out_h, out_w, 3], the
//     colour of that entry over the crop u8 [N, out_h, out_w, 3]:
//     trunc(crop*(1-alpha) + table[entry]*alpha + 0.5), table u8 [256, 3]; all 4-byte aligned
//   grid (SLICES, M, N)   block (THREADS, 1, 1)   smem 16*ceil(h*w/4) + max(4*C, 8*taps, 4*min(K, HELD_KEYS)) bytes
//   A block chooses its class, computes the whole map and its range and then writes one of SLICES bands of rows: at small
//   batches more SMs write, for the price of the choice, the sum and the range computed again.
//   f32 accumulation in a fixed order. Enlarging and blending are the CPU's operations in its order, unfused. The normalisation
//   (v - min) / (max - min) carries its rounding errors along, so that it agrees with f64 arithmetic rounded to f32.
//   byte floor of a block: features and logits of an image once, weights of a class once; outputs once; crop once. Warps write and
//   read whole sectors where rows are made of them; elsewhere what rows begin and end in is shared, and a quad's words may lie across.
#include "cam_asked.cuh"
#include "pixels.cuh"

struct CamUpsampleParams {
    int h, w, c;
    int out_h, out_w;
    int classes; // K
    int class_stride; // from one image's classes to the next one's; 0 where all images share them
    int normalisation;
    int taps;    // of rows: out_h, and what for_each_quad reads past them
    int shift;   // how far the pixels of a quad lie apart, see the launcher's `quad_shift`
    float alpha; // of the overlay
};
static_assert(sizeof(CamUpsampleParams) == 44, "the host's twin has 44 bytes");

enum Normalisation { NONE = 0, MIN_MAX = 1, RELU_MIN_MAX = 2 };

constexpr int THREADS = WARPS * 32;
constexpr int BLOCKS = 3; // resident on a multiprocessor: with more, a thread's registers would not hold its quad's corners
constexpr int CELLS = 4; // of one warp at a time: that many 16-byte loads of each lane are in flight
constexpr int QUAD = 4;  // pixels of one thread

// Where a row lies between two rows of the map.
struct RowTap {
    int low;
    float weight; // of the row after `low`
};

extern __shared__ float4 dynamic_smem[];

struct Smem {
    float* cells;    // [h, w]
    unsigned* keys;  // [min(K, HELD_KEYS)], see class_of_rank
    float4* weights; // [VEC/4][C/VEC], in the place of the keys: the lanes of a warp read neighbouring float4
    RowTap* rows;    // [taps], in the place of the weights once those are used

    __device__ explicit Smem(int cells_count) {
        cells = reinterpret_cast<float*>(dynamic_smem);
        weights = dynamic_smem + ceil_div(cells_count, 4);
        keys = reinterpret_cast<unsigned*>(weights);
        rows = reinterpret_cast<RowTap*>(weights);
    }
};

// The weights `w` into smem.weights.
template <typename T, int VEC>
__device__ __forceinline__ void hold(const T* __restrict__ w, int chunks, const Smem& smem) {
    for (int chunk = threadIdx.x; chunk < chunks; chunk += THREADS) {
        const Pack<T, VEC> weights = Pack<T, VEC>::load(w + chunk * VEC);
        #pragma unroll
        for (int part = 0; part < VEC / 4; ++part)
            smem.weights[part * chunks + chunk] = make_float4(weights.get(part * 4), weights.get(part * 4 + 1),
                                                              weights.get(part * 4 + 2), weights.get(part * 4 + 3));
    }
}

// The weights `row` into smem.weights.
template <int VEC>
__device__ __forceinline__ void hold_row(const float* RESTRICT_ACTIVATION row, int chunks, const Smem& smem) {
    for_each_part<VEC / 4, THREADS>(chunks, [&](int part, int chunk) {
        smem.weights[part * chunks + chunk] = load_activation(reinterpret_cast<const float4*>(row) + chunk * (VEC / 4) + part);
    });
}

// The weighted sum of every cell into smem.cells, by the weights `row` if it is not null, else `w`.
template <typename T, int VEC>
__device__ __forceinline__ void weighted_sum(const T* RESTRICT_ACTIVATION x, const T* __restrict__ w, const float* RESTRICT_ACTIVATION row, int cells,
                                             int c, const Smem& smem) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, chunks = c / VEC;
    const float offset = row ? row[c] : 0.f;
    if (row) hold_row<VEC>(row, chunks, smem);
    else hold<T, VEC>(w, chunks, smem);
    __syncthreads(); // the weights are there

    for (int first = warp; first < cells; first += WARPS * CELLS) {
        float sums[CELLS] = {};
        for (int chunk = lane; chunk < chunks; chunk += 32) {
            Pack<T, VEC> features[CELLS];
            #pragma unroll
            for (int i = 0; i < CELLS; ++i) // past the last cell it is read again and not stored: no branch in the loop
                features[i] = Pack<T, VEC>::load(x + (size_t)min(first + i * WARPS, cells - 1) * c + chunk * VEC);
            #pragma unroll
            for (int part = 0; part < VEC / 4; ++part) {
                const float4 weights = smem.weights[part * chunks + chunk];
                #pragma unroll
                for (int i = 0; i < CELLS; ++i) {
                    sums[i] = fmaf(features[i].get(part * 4), weights.x, sums[i]);
                    sums[i] = fmaf(features[i].get(part * 4 + 1), weights.y, sums[i]);
                    sums[i] = fmaf(features[i].get(part * 4 + 2), weights.z, sums[i]);
                    sums[i] = fmaf(features[i].get(part * 4 + 3), weights.w, sums[i]);
                }
            }
        }
        #pragma unroll
        for (int i = 0; i < CELLS; ++i) {
            const float total = warp_sum(sums[i]);
            if (lane == 0 && first + i * WARPS < cells) smem.cells[first + i * WARPS] = total - offset;
        }
    }
}

// The two cells that position `at` of `outputs` lies between, and the weight of the second, in exact integers: the centre of the
// position is (2 at + 1) cells / (2 outputs) - 1/2. The launcher sees to it that 2 outputs * cells is below 2^32.
__device__ __forceinline__ RowTap tap(unsigned at, unsigned outputs, unsigned cells) {
    const unsigned centre = (2 * at + 1) * cells, position = centre > outputs ? centre - outputs : 0;
    const unsigned low = position / (2 * outputs);
    if (low >= cells - 1) return {(int)cells - 1, 0.f};
    return {(int)low, __fdiv_rn((float)(position - 2 * outputs * low), (float)(2 * outputs))};
}

// Calls `visit(y, x, values, count)` for the quads of the rows from `y0` up to `y1`: pixels x, x + 2^shift and so on, of which the
// first `count` are inside, maybe none; values past the last column or row repeat it. All lanes of a warp call together.
template <typename Visit>
__device__ __forceinline__ void for_each_quad(const CamUpsampleParams& params, const Smem& smem, int shift, int y0, int y1, Visit&& visit) {
    const int apart = 1 << shift;
    int quads = ceil_div(params.out_w, QUAD << shift) << shift;
    int bands = max(THREADS / quads, 1); // each a run of rows, so that a thread keeps its four corners for many rows
    const int whole_warps = ceil_div(quads, 32) * 32;
    if (max(THREADS / whole_warps, 1) == bands) quads = whole_warps; // the same warps, but each with one row at a time: no bank conflicts
    // Elsewhere a warp has rows of several bands. Their taps, of which a phase has those of 16 lanes and thereby of at most 2, 4 or 16
    // bands, lie in different banks then; cells it reads for one band at a time.
    const bool are_mixed = quads % 32 != 0;
    bands = min(bands, y1 - y0);
    int rows = ceil_div(y1 - y0, bands);
    if (are_mixed && rows % (quads >= 16 ? 16 : quads >= 4 ? 8 : 2) == 0) ++rows;
    for (int unit = threadIdx.x; unit / 32 * 32 < quads * bands; unit += THREADS) { // by whole warps
        const int quad = unit % quads, band = unit / quads;
        const int x = (quad >> shift) * (QUAD << shift) + (quad & (apart - 1));
        int low[QUAD];
        float across[QUAD];
        #pragma unroll
        for (int i = 0; i < QUAD; ++i) {
            const RowTap column = tap(min(x + i * apart, params.out_w - 1), params.out_w, params.w);
            low[i] = column.low;
            across[i] = column.weight;
        }
        int held = -1; // the row of the map that `top` holds
        float top[QUAD][2], bottom[QUAD][2];
        const int count = unit < quads * bands ? min(max(params.out_w - x + apart - 1, 0) >> shift, QUAD) : 0;
        const int first_band = are_mixed ? __shfl_sync(0xffffffffu, band, 0) : band;
        const int turn = band - first_band, turns = are_mixed ? __shfl_sync(0xffffffffu, band, 31) - first_band + 1 : 1;
        const int start = y0 + min(band, bands - 1) * rows;
        for (int y = start; y < start + rows; ++y) { // up to bands * rows from y0 on, which is less than y1 + 2 * bands
            const RowTap row = smem.rows[y];
            if (row.low != held) {
                held = row.low;
                const float* upper = smem.cells + row.low * params.w;
                const float* lower = smem.cells + min(row.low + 1, params.h - 1) * params.w;
                #pragma unroll 1
                for (int now = 0; now < turns; ++now) {
                    if (now != turn) continue;
                    #pragma unroll
                    for (int i = 0; i < QUAD; ++i) {
                        low[i] = ptx::opaque(low[i]); // `high` of four pixels is not worth the registers
                        const int high = min(low[i] + 1, params.w - 1);
                        top[i][0] = upper[low[i]];
                        top[i][1] = upper[high];
                        bottom[i][0] = lower[low[i]];
                        bottom[i][1] = lower[high];
                    }
                }
            }
            float values[QUAD];
            #pragma unroll
            for (int i = 0; i < QUAD; ++i)
                values[i] = mix(across[i], mix(row.weight, top[i][0], bottom[i][0]), mix(row.weight, top[i][1], bottom[i][1]));
            visit(y, x, values, y < y1 ? count : 0);
        }
    }
}

// Least and greatest enlarged value, or two NaN if a cell or an enlarged value is not finite; the same in every thread.
__device__ __forceinline__ float2 range_of(const CamUpsampleParams& params, const Smem& smem, int shift) {
    __shared__ float2 partial[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // fminf and fmaxf drop NaN, which is why `poison` exists: 0 * v is NaN for every v that is not finite, and it stays.
    float least = infinity(), greatest = -infinity(), poison = 0.f;
    for (int i = threadIdx.x; i < params.h * params.w; i += THREADS) poison = fmaf(smem.cells[i], 0.f, poison);
    for_each_quad(params, smem, shift, 0, params.out_h, [&](int, int, const float(&values)[QUAD], int) {
        #pragma unroll
        for (int i = 0; i < QUAD; ++i) { // a value outside is one inside, too
            least = fminf(least, values[i]);
            greatest = fmaxf(greatest, values[i]);
            poison = fmaf(values[i], 0.f, poison);
        }
    });
    least = warp_min(least + poison);
    greatest = warp_max(greatest + poison);
    if (lane == 0) partial[warp] = make_float2(least, greatest);
    __syncthreads(); // every warp's part is there
    #pragma unroll
    for (int i = 0; i < WARPS; ++i) {
        least = min_nan(least, partial[i].x);
        greatest = max_nan(greatest, partial[i].y);
    }
    return make_float2(least, greatest);
}

// (v - low) / (high - low) as if in f64. Everything is first scaled by a power of two, which is exact, so that no finite range
// overflows or is lost below the normal numbers; sums and the quotient then carry what rounding cut off.
struct Scale {
    bool leave, relu, flat;
    float factor, low, span, span_rest, reciprocal;

    __device__ Scale(int normalisation, float2 range) {
        leave = normalisation == NONE;
        relu = normalisation == RELU_MIN_MAX;
        const float least = clip(range.x), greatest = clip(range.y);
        const int exponent = (int)(__float_as_uint(fmaxf(fabsf(least), fabsf(greatest))) >> 23) - 127;
        factor = __uint_as_float((unsigned)(min(max(-exponent, -126), 127) + 127) << 23);
        low = __fmul_rn(least, factor);
        span = exact_difference(__fmul_rn(greatest, factor), low, span_rest);
        // What rounding alone makes of a constant map: the largest magnitude is in 1..2, or less where it is below the normal
        // numbers, and a map that reaches from 0 to it is not constant.
        const float magnitude = fmaxf(fabsf(low), fabsf(__fmul_rn(greatest, factor)));
        flat = span == 0.f || (span < magnitude && span <= 16.f / (1 << 23));
        reciprocal = __frcp_rn(span);
    }

    __device__ __forceinline__ float clip(float v) const { return relu && v < 0.f ? 0.f : v; }

    // a - b rounded, and what the rounding cut off (Knuth's two-sum).
    static __device__ __forceinline__ float exact_difference(float a, float b, float& rest) {
        const float difference = __fsub_rn(a, b);
        const float part = __fsub_rn(difference, a);
        rest = __fsub_rn(__fsub_rn(a, __fsub_rn(difference, part)), __fadd_rn(b, part));
        return difference;
    }

    __device__ __forceinline__ float operator()(float v) const {
        if (leave) return v;
        if (flat) return 0.f;
        float rest;
        const float difference = exact_difference(__fmul_rn(clip(v), factor), low, rest);
        const float quotient = __fmul_rn(difference, reciprocal);
        const float remainder = fmaf(-quotient, span, difference) + fmaf(-quotient, span_rest, rest);
        return fmaf(remainder, reciprocal, quotient);
    }
};

// Entry of a colormap: trunc(256 v), the ends for values beyond them. NaN gives 0; `range` tells of it.
__device__ __forceinline__ unsigned entry(float v) { return (unsigned)min(max(__float2int_rz(v * 256.f), 0), 255); }

// What is written for the quad whose first pixel is `at` of the image, its others 2^shift apart; the first `count` values are inside
// it, maybe none. Quads of a shift of 0 are full and aligned, and stored at once. Before, `start` is told where the pixels of the
// block's map begin, and those of its image.
struct F32Out {
    static __device__ int shift(const CamUpsampleParams& params) { return params.shift; }
    float* out;
    __device__ void start(const CamUpsampleParams&, size_t map, size_t) { out += map; }
    __device__ __forceinline__ void operator()(int at, const float (&v)[QUAD], int shift, int count) const {
        float* to = out + at;
        if (shift == 0 && count) *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
        else for (int i = 0; i < QUAD; ++i) if (i < count) to[i << shift] = v[i];
    }
};

struct F16Out {
    static __device__ int shift(const CamUpsampleParams& params) { return params.shift; }
    f16* out;
    __device__ void start(const CamUpsampleParams&, size_t map, size_t) { out += map; }
    __device__ __forceinline__ void operator()(int at, const float (&v)[QUAD], int shift, int count) const {
        f16* to = out + at;
        if (shift == 0 && count) *reinterpret_cast<uint2*>(to) = make_uint2(ptx::f16x2_from_f32(v[0], v[1]), ptx::f16x2_from_f32(v[2], v[3]));
        else for (int i = 0; i < QUAD; ++i) if (i < count) to[i << shift].bits = ptx::f16_from_f32(v[i]);
    }
};

struct U8Out {
    static __device__ int shift(const CamUpsampleParams& params) { return params.shift; }
    unsigned char* out;
    __device__ void start(const CamUpsampleParams&, size_t map, size_t) { out += map; }
    __device__ __forceinline__ void operator()(int at, const float (&v)[QUAD], int shift, int count) const {
        unsigned char* to = out + at;
        if (shift == 0 && count) *reinterpret_cast<unsigned*>(to) = entry(v[0]) | entry(v[1]) << 8 | entry(v[2]) << 16 | entry(v[3]) << 24;
        else for (int i = 0; i < QUAD; ++i) if (i < count) to[i << shift] = (unsigned char)entry(v[i]);
    }
};

#include "cam_overlay.cuh"

template <typename T, int VEC, typename Out>
__device__ __forceinline__ void cam_upsample(const T* RESTRICT_ACTIVATION x, const T* __restrict__ w, const float* RESTRICT_ACTIVATION rows,
                                             const int* RESTRICT_ACTIVATION classes, const float* RESTRICT_ACTIVATION logits, int* __restrict__ index,
                                             float* __restrict__ raw, float2* __restrict__ range, Out out,
                                             const CamUpsampleParams& params, const Step& step) {
    begin_step(step);
    const int cells = params.h * params.w;
    const Smem smem(cells);
    const size_t n = blockIdx.z, map = n * gridDim.y + blockIdx.y;
    const float* const row = rows ? rows + map * (params.c + ROW_END) : nullptr;
    int chosen = 0;
    if (logits) {
        chosen = class_of_rank<WARPS>(logits + n * params.classes, params.classes, blockIdx.y, smem.keys);
        if (blockIdx.x == 0 && threadIdx.x == 0) index[map] = chosen;
    } else if (!row) {
        chosen = classes[n * params.class_stride + blockIdx.y];
    }
    const size_t pixels = (size_t)params.out_h * params.out_w;
    out.start(params, map * pixels, n * pixels);
    const bool is_known = (unsigned)chosen < (unsigned)params.classes;
    const T* const weights = w + (is_known ? (size_t)chosen * params.c : 0);
    weighted_sum<T, VEC>(x + n * cells * params.c, weights, row, cells, params.c, smem);
    __syncthreads(); // the cells are there, and nobody needs the weights any more
    if (!is_known) {
        for (int i = threadIdx.x; i < cells; i += THREADS) smem.cells[i] = nan_f32();
        __syncthreads();
    }
    for (int y = threadIdx.x; y < params.taps; y += THREADS) smem.rows[y] = tap(min(y, params.out_h - 1), params.out_h, params.h);
    if (blockIdx.x == 0)
        for (int i = threadIdx.x; i < cells; i += THREADS) raw[map * cells + i] = smem.cells[i];
    __syncthreads(); // the taps are there

    const int shift = Out::shift(params);
    const float2 extremes = range_of(params, smem, shift);
    if (blockIdx.x == 0 && threadIdx.x == 0) range[map] = extremes;
    const Scale scale(row ? reinterpret_cast<const RowEnd*>(row + params.c)->normalisation : params.normalisation, extremes);

    const int height = ceil_div(params.out_h, gridDim.x);
    const int y0 = blockIdx.x * height, y1 = min(y0 + height, params.out_h);
    if (y0 >= y1) return; // whole blocks leave
    for_each_quad(params, smem, shift, y0, y1, [&](int y, int at_x, const float(&values)[QUAD], int count) {
        float shown[QUAD];
        #pragma unroll
        for (int i = 0; i < QUAD; ++i) shown[i] = scale(values[i]);
        out(y * params.out_w + at_x, shown, shift, count);
    });
}

#define CAM_UPSAMPLE(NAME, T, VEC, OUT, OUT_T)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
        NAME(const T* RESTRICT_ACTIVATION x, const T* __restrict__ w, const float* RESTRICT_ACTIVATION rows,            \
             const int* RESTRICT_ACTIVATION classes,                                                                    \
             const float* RESTRICT_ACTIVATION logits, int* __restrict__ index, float* __restrict__ raw,                 \
             float2* __restrict__ range, OUT_T* __restrict__ shown, const CamUpsampleParams params,                     \
             const Step step) {                                                                                         \
        cam_upsample<T, VEC>(x, w, rows, classes, logits, index, raw, range, OUT{shown}, params, step);                 \
    }

#define CAM_OVERLAY(NAME, T, VEC, OUT)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
        NAME(const T* RESTRICT_ACTIVATION x, const T* __restrict__ w, const float* RESTRICT_ACTIVATION rows,            \
             const int* RESTRICT_ACTIVATION classes,                                                                    \
             const float* RESTRICT_ACTIVATION logits, int* __restrict__ index, float* __restrict__ raw,                 \
             float2* __restrict__ range, const unsigned char* __restrict__ crop, const unsigned char* __restrict__ table, \
             unsigned char* __restrict__ overlay, const CamUpsampleParams params, const Step step) {                    \
        const OUT out{overlay, crop, table, 0.f, nullptr, nullptr};                                              \
        cam_upsample<T, VEC>(x, w, rows, classes, logits, index, raw, range, out, params, step);                        \
    }

// ELEMENT comes from the table of variants: one unit per type of x.
#if ELEMENT == 0
CAM_UPSAMPLE(cam_upsample_f32_f32, float, 4, F32Out, float)
CAM_UPSAMPLE(cam_upsample_f32_f16, float, 4, F16Out, f16)
CAM_UPSAMPLE(cam_upsample_f32_u8, float, 4, U8Out, unsigned char)
CAM_OVERLAY(cam_overlay_f32, float, 4, OverlayQuadsOut)
CAM_OVERLAY(cam_overlay_runs_f32, float, 4, OverlayRunsOut)
#elif ELEMENT == 1
CAM_UPSAMPLE(cam_upsample_f16_f32, f16, 8, F32Out, float)
CAM_UPSAMPLE(cam_upsample_f16_f16, f16, 8, F16Out, f16)
CAM_UPSAMPLE(cam_upsample_f16_u8, f16, 8, U8Out, unsigned char)
CAM_OVERLAY(cam_overlay_f16, f16, 8, OverlayQuadsOut)
CAM_OVERLAY(cam_overlay_runs_f16, f16, 8, OverlayRunsOut)
#else
CAM_UPSAMPLE(cam_upsample_bf16_f32, bf16, 8, F32Out, float)
CAM_UPSAMPLE(cam_upsample_bf16_f16, bf16, 8, F16Out, f16)
CAM_UPSAMPLE(cam_upsample_bf16_u8, bf16, 8, U8Out, unsigned char)
CAM_OVERLAY(cam_overlay_bf16, bf16, 8, OverlayQuadsOut)
CAM_OVERLAY(cam_overlay_runs_bf16, bf16, 8, OverlayRunsOut)
#endif
