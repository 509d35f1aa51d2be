// The network's first two layers in one: 7x7 convolution of stride 2 and border 3, bias, ReLU, 3x3 max pooling of stride 2 and
// border 1. The convolution's output stays in registers.
//   a[n,i,j,k] = max(0, bias[k] + sum_{r,s,c} x'[n, 2i-3+r, 2j-3+s, c] * w[k,r,s,c])   y[n,i,j,k] = max_{u,v} a[n, 2i-1+u, 2j-1+v, k]
//   x f16 NHWC with C = 3; x' = x, zero outside the image; from capability 8.0 on also with bf16 in the place of every f16
//   w f16, packed for the tensor cores by src/cuda/stem_filter.rs   bias f32 [K]   y f16 NPQK, K % 8 == 0   pointers 16-byte aligned
//   grid (at most the number of tiles, ceil(K/64), 1)   block (64 * min(2, ceil(K/32)), 1, 1)   tiles are walked by the grid
//   smem (4*rows+7) * (RAW_PITCH + 4*PITCH) bytes, `rows` rows of y a tile
//   f32 accumulation; a NaN goes through ReLU and pooling into every y whose windows see it, and no other
//   A tile is 30 columns and `rows` rows of y. Its image patch comes row by row: as it is in memory, asynchronously during the tile
//   before, then aligned to words, with zeros round the image. The filter stays in registers.
#include "stem_patch.cuh"

// ---- the convolution ---------------------------------------------------------------------------------------------------

// The window of an output pixel is 7 rows of 21 elements, 11 words in the patch. The product's depth are its words, in 20 chunks of
// four, a word for each t = lane % 4:
//   chunk 2r + h, h < 2:  word 4h + t of row r                         chunks 0 to 13
//   chunk 14 + j:         word 8 + j of row t                          chunks 14 to 16
//   chunk 17 + j:         word 8 + j of row 4 + t; nothing for t = 3   chunks 17 to 19
// The upper half of word 10 belongs to the next pixel. It and what t = 3 reads for nothing are cleared: 0 * NaN would be NaN.
// Neighbouring g = lane / 4 are four output columns apart, 12 words, so that eight of them start at the eight multiples of 4 modulo 32,
// and t adds 0, 1, 2, 3 or as many times the odd pitch: no two lanes meet in a bank.
constexpr int CHUNKS = 20;
constexpr int STEPS = CHUNKS / 2; // an mma.m16n8k16 each
constexpr int PIXEL = 3;          // words from one output column to the next

struct Taps {
    const unsigned* along; // where chunks 0, 14 and 17 of this lane's first column begin
    const unsigned* down;
    const unsigned* rest;
    unsigned used;         // all ones where chunks 17 to 19 are of use

    __device__ Taps(const unsigned* patch, int strip) {
        const int lane = threadIdx.x % WARP, t = lane % 4;
        const unsigned* first = patch + (strip * 2 * STRIP_POOLED + lane / 4 * 4) * PIXEL;
        along = first + t;
        down = first + t * PITCH + 8;
        rest = first + (t < 3 ? 4 + t : 3) * PITCH + 8;
        used = t < 3 ? 0xffffffffu : 0u;
    }
    // Goes `rows` rows of the convolution's output down.
    __device__ void advance(int rows) {
        along += rows * 2 * PITCH;
        down += rows * 2 * PITCH;
        rest += rows * 2 * PITCH;
    }
    // Chunk `chunk` for the output pixel `rows` down and `column` to the right.
    __device__ unsigned operator()(int chunk, int rows, int column) const {
        const int at = rows * 2 * PITCH + column * PIXEL;
        if (chunk < 14) return along[at + chunk / 2 * PITCH + chunk % 2 * 4];
        const unsigned word = chunk < 17 ? down[at + chunk - 14] : rest[at + chunk - 17] & used;
        return chunk == 16 || chunk == 19 ? word & 0xffffu : word;
    }
};

constexpr int COLUMNS = 4;  // of a lane, next to each other: 4g to 4g + 3
constexpr int CHANNELS = 4; // pairs of a lane, next to each other: 8t to 8t + 7

struct Filter {
    static constexpr int PACKS = STEPS * CHANNELS * 2 / 4; // of a lane
    unsigned b[STEPS][CHANNELS][2];
    float bias[CHANNELS][2];

    // w: [group][register / 4][lane][4]
    __device__ Filter(const uint4* w, const float* bias_at, int group, int k) {
        const int lane = threadIdx.x % WARP, first = group * GROUP + lane % 4 * 8;
        unsigned* at = &b[0][0][0];
#pragma unroll
        for (int i = 0; i < PACKS; ++i) {
            const uint4 four = __ldg(w + (group * PACKS + i) * WARP + lane);
            at[4 * i] = four.x, at[4 * i + 1] = four.y, at[4 * i + 2] = four.z, at[4 * i + 3] = four.w;
        }
        float eight[8] = {};
        if (first < k) Vector<8, float>::load(bias_at + first, eight);
#pragma unroll
        for (int i = 0; i < 8; ++i) bias[i / 2][i % 2] = eight[i];
    }
};

// Two values of one pixel that only their largest and whether it is above 0 matter of. From capability 8.0 on they are a pair of
// T; before, the bits of two f32, which as integers have the order of the numbers from 0 up, with NaN above and all others below.
template <typename T>
struct Pair {
#if __CUDA_ARCH__ >= 800
    unsigned v;
    static __device__ Pair of(float low, float high) { return {pair_from_f32<T>(low, high)}; }
    __device__ Pair max_with(Pair o) const { return {max_nan_pair<T>(v, o.v)}; }
    __device__ Pair only_if(unsigned mask) const { return {v & mask}; }
    __device__ Pair from_lane(int lane) const { return {__shfl_sync(0xffffffffu, v, lane)}; }
    __device__ unsigned stored() const { return v; }
#else
    int low, high;
    static __device__ int bits(float v) { return v == v ? __float_as_int(v) : 0x7fffffff; } // a NaN may have a sign
    static __device__ Pair of(float low, float high) { return {bits(low), bits(high)}; }
    __device__ Pair max_with(Pair o) const { return {max(low, o.low), max(high, o.high)}; }
    __device__ Pair only_if(unsigned mask) const { return {low & (int)mask, high & (int)mask}; }
    __device__ Pair from_lane(int lane) const {
        return {__shfl_sync(0xffffffffu, low, lane), __shfl_sync(0xffffffffu, high, lane)};
    }
    __device__ unsigned stored() const { return pair_from_f32<T>(__int_as_float(low), __int_as_float(high)); }
#endif
    static __device__ Pair zero() { return {}; }
};

template <typename T>
struct Row {
    Pair<T> v[COLUMNS][CHANNELS];
    // A row outside the convolution's output: as everything is at least 0 after the ReLU, 0 never wins over it.
    __device__ void clear() {
#pragma unroll
        for (int i = 0; i < COLUMNS * CHANNELS; ++i) v[i / CHANNELS][i % CHANNELS] = Pair<T>::zero();
    }
    __device__ void take_max(const Row& o) {
#pragma unroll
        for (int i = 0; i < COLUMNS * CHANNELS; ++i) {
            v[i / CHANNELS][i % CHANNELS] = v[i / CHANNELS][i % CHANNELS].max_with(o.v[i / CHANNELS][i % CHANNELS]);
        }
    }
};

// The sums of the row `rows` down, with their bias. Rows g and g + 8 of an mma tile are two columns of a lane.
template <typename T>
__device__ __forceinline__ void convolve(Row<T>& out, const Taps& taps, int rows, const Filter& filter) {
    float acc[COLUMNS / 2][CHANNELS][4];
#pragma unroll
    for (int m = 0; m < COLUMNS / 2; ++m) {
#pragma unroll
        for (int n = 0; n < CHANNELS; ++n) {
            acc[m][n][0] = acc[m][n][2] = filter.bias[n][0];
            acc[m][n][1] = acc[m][n][3] = filter.bias[n][1];
        }
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
#pragma unroll
        for (int m = 0; m < COLUMNS / 2; ++m) {
            unsigned a[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) a[i] = taps(2 * step + i / 2, rows, 2 * m + i % 2);
#pragma unroll
            for (int n = 0; n < CHANNELS; ++n) {
#if __CUDA_ARCH__ >= 800
                mma_m16n8k16<T>(acc[m][n], a, filter.b[step][n][0], filter.b[step][n][1]);
#else
                ptx::mma_m16n8k8(acc[m][n], a[0], a[1], filter.b[step][n][0]);
                ptx::mma_m16n8k8(acc[m][n], a[2], a[3], filter.b[step][n][1]);
#endif
            }
        }
    }
#pragma unroll
    for (int m = 0; m < COLUMNS / 2; ++m) {
#pragma unroll
        for (int n = 0; n < CHANNELS; ++n) {
            out.v[2 * m][n] = Pair<T>::of(acc[m][n][0], acc[m][n][1]);
            out.v[2 * m + 1][n] = Pair<T>::of(acc[m][n][2], acc[m][n][3]);
        }
    }
}

// Where a lane's two columns of y are, and which of its columns of the convolution exist.
struct Place {
    int j;                 // the first; the second is next to it
    int k;                 // the first of eight channels
    bool first, second;    // whether they are this lane's to store
    unsigned left, right;  // all ones if the columns 4g and 4g + 2 exist; 4g + 1 and 4g + 3 do where they matter
    int next;              // the lane of the four columns to the right

    __device__ Place(const Tile& tile, int strip, int group, const StemParams& p) {
        const int lane = threadIdx.x % WARP, g = lane / 4;
        j = tile.j0 + strip * STRIP_POOLED + 2 * g;
        k = group * GROUP + lane % 4 * 8;
        first = j < p.q && k < p.k;
        second = j + 1 < p.q && k < p.k && g < 7;
        left = (unsigned)(2 * j - 1) < (unsigned)p.conv_q ? 0xffffffffu : 0u;
        right = 2 * j + 1 < p.conv_q ? 0xffffffffu : 0u;
        next = lane + 4; // of the last four the result is not used
    }
};

template <typename T>
__device__ __forceinline__ void store(const Row<T>& row, const Place& place, T* y, int k) {
    unsigned first[CHANNELS], second[CHANNELS];
#pragma unroll
    for (int n = 0; n < CHANNELS; ++n) {
        const Pair<T> left = row.v[0][n].only_if(place.left), right = row.v[2][n].only_if(place.right);
        const Pair<T> next = left.from_lane(place.next);
        first[n] = left.max_with(row.v[1][n]).max_with(right).max_with(Pair<T>::zero()).stored();
        second[n] = right.max_with(row.v[3][n]).max_with(next).max_with(Pair<T>::zero()).stored();
    }
    if (place.first) *(uint4*)y = make_uint4(first[0], first[1], first[2], first[3]);
    if (place.second) *(uint4*)(y + k) = make_uint4(second[0], second[1], second[2], second[3]);
}

// Columns and rows of y, of the patch's tile, for this warp's strip and channels.
template <typename T>
__device__ __forceinline__ void pool(const unsigned* patch, const Tile& tile, int strip, int group, const Filter& filter, T* y,
                                     const StemParams& p) {
    const Place place(tile, strip, group, p);
    Taps taps(patch, strip);
    Row<T> above, row; // the largest of the rows so far of those that the next row of y sees; one row
    above.clear();
    if (tile.i0 > 0) convolve(above, taps, 0, filter); // row 2 * i0 - 1
    y += ((size_t)(tile.image * p.p + tile.i0) * p.q + place.j) * p.k + place.k;
    const int end = min(tile.i0 + p.rows, p.p);
#pragma unroll 1
    for (int i = tile.i0; i < end; ++i) {
        convolve(row, taps, 1, filter); // row 2 * i, which exists
        above.take_max(row);
        row.clear();
        if (2 * i + 1 < p.conv_p) convolve(row, taps, 2, filter);
        above.take_max(row);
        store(above, place, y, p.k);
        above = row;
        taps.advance(2);
        y += p.q * p.k;
    }
}

// All filters and the bias on their way to L2.
__device__ inline void prefetch(const uint4* w, const float* bias, const StemParams& p) {
    prefetch_part(w, ceil_div(p.k, GROUP) * Filter::PACKS * WARP, 0, 1);
    prefetch_part(bias, p.k, 0, 1);
}

template <typename T>
__device__ void stem(const T* x, const uint4* w, const float* bias, T* y, const StemParams& p, const Step& step) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) prefetch(w, bias, p);
    begin_step(step);
    extern __shared__ __align__(16) unsigned char shared[];
    unsigned char* raw = shared;                                       // [rows][RAW_PITCH]
    unsigned* patch = (unsigned*)(shared + patch_rows(p) * RAW_PITCH); // [rows][PITCH]

    const int warp = threadIdx.x / WARP, strip = warp % STRIPS, group = blockIdx.y * GROUPS + warp / STRIPS;
    const bool computes = group * GROUP < p.k; // the other warps only help with the patch
    if ((int)blockIdx.x < p.tiles) fetch(x, raw, Tile(blockIdx.x, p), p);
    const Filter filter(w, bias, computes ? group : 0, p.k);
    for (int index = blockIdx.x; index < p.tiles; index += gridDim.x) {
        const Tile tile(index, p);
        wait_for_copies();
        __syncthreads(); // every lane's have landed, and all are done with the patch of the tile before
        convert<T>(raw, patch, tile, p);
        __syncthreads(); // the patch is complete
        if (index + (int)gridDim.x < p.tiles) fetch(x, raw, Tile(index + gridDim.x, p), p);
        if (computes) pool(patch, tile, strip, group, filter, y, p);
    }
}

#define STEM(NAME, T)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(WARP* STRIPS* GROUPS, 2)                                                    \
        NAME(const T* x, const uint4* w, const float* bias, T* y, const StemParams p, const Step step) {                     \
        stem(x, w, bias, y, p, step);                                                                                        \
    }

STEM(stem_f16_nhwc, f16)
#if __CUDA_ARCH__ >= 800
STEM(stem_bf16_nhwc, bf16)
#endif
