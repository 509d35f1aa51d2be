// One axis of a resize in Pillow's 22-bit fixed point:
//     out[y,x,:] = clip((2^21 + sum_t weight[at,t] * in[first[at]+t along the axis, :]) >> 22),   at = x (horizontal) or y (vertical)
//   Both filters give a warp 32 neighbouring pixels of a row.
#pragma once
#include "common.cuh"

struct ResizeParams {
    int in_pitch;       // bytes from one row of the input to the next
    int in_w;           // pixels of a row of the input
    int taps;           // weights of each output: as many as any needs, filled up with zeros
    int seen_w, seen_h; // pixels that this pass computes
    int at_x, at_y;     // where they lie in the output
    int out_w, out_h;   // the output
};
static_assert(sizeof(ResizeParams) == 36, "the host's twin has 36 bytes");

constexpr int PRECISION_BITS = 22;
constexpr int HALF = 1 << (PRECISION_BITS - 1); // so that the shift rounds
static_assert(TILE_W == 32, "a warp computes 32 pixels of one row");

__device__ __forceinline__ unsigned to_byte(int sum) { return (unsigned)min(max(sum >> PRECISION_BITS, 0), 255); }

// A warp's 32 pixels of a row. Their 96 bytes lie next to each other in memory; lane l has bytes l, l + 32 and l + 64, so that the
// warp moves whole sectors.
struct Segment {
    unsigned v[3];

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

// Down: the segment from pixel (x0, y) of those that the pass computes; y is one of them, and what lies beside them is black.
__device__ __forceinline__ Segment filter_down(const unsigned char* __restrict__ in, const int* __restrict__ first,
                                               const int* __restrict__ weight, const ResizeParams& params, int x0, int y) {
    const unsigned char* row = in + (size_t)__ldg(first + y) * params.in_pitch;
    const int* weights = weight + (size_t)y * params.taps;
    int byte[3];
    bool inside[3];
    int sums[3];
    #pragma unroll
    for (int j = 0; j < 3; ++j) {
        byte[j] = x0 * 3 + j * 32 + (int)threadIdx.x;
        inside[j] = byte[j] >= 0 && byte[j] < params.seen_w * 3;
        sums[j] = HALF;
    }
    for (int t = 0; t < params.taps; ++t) {
        const int w = __ldg(weights + t);
        // A run shorter than the longest is filled up with zeros, and what lies there may be past the picture's end.
        if (w != 0) {
            #pragma unroll
            for (int j = 0; j < 3; ++j) {
                if (inside[j]) sums[j] += w * __ldg(row + byte[j]);
            }
        }
        row += params.in_pitch;
    }
    Segment found;
    #pragma unroll
    for (int j = 0; j < 3; ++j) found.v[j] = inside[j] ? to_byte(sums[j]) : 0;
    return found;
}

// Across, pixels that neighbours need lie apart by the picture's scale: no order of them in shared memory would keep all scales free
// of bank conflicts. So the lanes of a warp are 32 rows, which all need the same columns at the same time with the same weights:
// a warp computes some columns, with words that lie an odd number of words apart.
constexpr int COLUMNS = TILE_W / TILE_H; // of a warp
constexpr int PIECE = 172;               // pixels of a row in shared memory at a time
constexpr int PIECE_WORDS = PIECE * 3 / 4;
constexpr int OUT_WORDS = TILE_W * 3 / 4 + 1;
static_assert(ROWS == 32, "a lane has one row");
static_assert(GROUP == 4, "the weights of a group are one int4, its bytes are three words");
static_assert(COLUMNS == 4, "a lane's bytes are whole words");
static_assert(PIECE % GROUP == 0, "a group lies in one piece");
static_assert(PIECE_WORDS % 2 == 1 && OUT_WORDS % 2 == 1, "a word of 32 rows lies in 32 banks");

struct Across {
    unsigned in[ROWS][PIECE_WORDS];
    unsigned out[ROWS][OUT_WORDS];

    __device__ __forceinline__ Segment segment(int row) const {
        const unsigned char* bytes = (const unsigned char*)out[row];
        return {bytes[threadIdx.x], bytes[threadIdx.x + 32], bytes[threadIdx.x + 64]};
    }
};

// The aligned word at `at` of a row of `size` bytes, if it begins below `stop`: bytes beyond the row's ends are zero and not read.
__device__ __forceinline__ unsigned word_of_row(const unsigned char* __restrict__ row, int size, int at, int stop) {
    if (at >= stop || at >= size) return 0;
    if (at >= 0 && size - at >= 4) return __ldg((const unsigned*)(row + at));
    unsigned word = 0;
    #pragma unroll
    for (int j = 0; j < 4; ++j) {
        if (at + j >= 0 && at + j < size) word |= (unsigned)__ldg(row + at + j) << 8 * j;
    }
    return word;
}

// Copies `words` words of a row from byte `from` on, which may have any alignment: the warp reads whole sectors, and each lane
// shifts its word and the next lane's into place.
__device__ __forceinline__ void stage_row(unsigned* to, const unsigned char* __restrict__ row, int size, int from, int words) {
    const int lane = threadIdx.x;
    const int offset = (int)((size_t)(row + from) % 32), lead = offset / 4;
    const int start = from - offset + lane * 4, stop = from + words * 4;
    unsigned word = word_of_row(row, size, start, stop);
    #pragma unroll 1
    for (int i = 0; i < lead + words; i += 32) {
        const unsigned next = word_of_row(row, size, start + (i + 32) * 4, stop);
        const unsigned after = __shfl_sync(0xffffffffu, lane == 0 ? next : word, (lane + 1) % 32);
        const int at = i + lane - lead;
        if (at >= 0 && at < words) to[at] = __funnelshift_r(word, after, offset % 4 * 8);
        word = next;
    }
}

__device__ __forceinline__ void add_group(int (&sums)[3], const int4& weights, const unsigned* words) {
    const unsigned bytes[3] = {words[0], words[1], words[2]};
    const int w[GROUP] = {weights.x, weights.y, weights.z, weights.w};
    #pragma unroll
    for (int j = 0; j < 3 * GROUP; ++j) sums[j % 3] += w[j / 3] * (int)(bytes[j / 4] >> j % 4 * 8 & 255);
}

// Leaves in `across.out` the block's pixels from (x0, y0) of those that the pass computes; what lies beside them is black. Firsts and
// taps are multiples of GROUP, and weights 16-byte aligned.
__device__ __forceinline__ void filter_across(Across& across, const unsigned char* __restrict__ in, const int* __restrict__ first,
                                              const int* __restrict__ weight, const ResizeParams& params, int x0, int y0) {
    const int from_x = max(x0, 0), to_x = min(x0 + TILE_W, params.seen_w);
    const int from_y = max(-y0, 0), to_y = min(ROWS, params.seen_h - y0); // of the block's rows
    const int lane = threadIdx.x, column = COLUMNS * threadIdx.y;
    int sums[COLUMNS][3];
    #pragma unroll
    for (int j = 0; j < 3 * COLUMNS; ++j) sums[j / 3][j % 3] = HALF;

    const int begin = from_x < to_x ? __ldg(first + from_x) : 0;
    const int end = from_x < to_x ? __ldg(first + to_x - 1) + params.taps : 0;
    for (int piece = begin; piece < end; piece += PIECE) {
        if (piece != begin) __syncthreads(); // every warp is done with the piece before
        #pragma unroll 1
        for (int r = from_y + threadIdx.y; r < to_y; r += TILE_H) {
            const unsigned char* row = in + (size_t)(y0 + r) * params.in_pitch;
            stage_row(across.in[r], row, params.in_w * 3, piece * 3, min(PIECE, end - piece) * 3 / 4);
        }
        __syncthreads();
        #pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            const int x = x0 + column + j;
            if (x < from_x || x >= to_x) continue; // the whole warp
            const int start = __ldg(first + x), stop = min(params.taps, piece + PIECE - start);
            #pragma unroll 1 // code of eight entries and four columns each
            for (int t = max(0, piece - start); t < stop; t += GROUP) {
                const int4 weights = __ldg((const int4*)(weight + (size_t)x * params.taps + t));
                if ((weights.x | weights.y | weights.z | weights.w) == 0) continue; // behind a run shorter than the longest
                if (lane >= from_y && lane < to_y) add_group(sums[j], weights, across.in[lane] + (start + t - piece) * 3 / 4);
            }
        }
    }
    #pragma unroll
    for (int k = 0; k < 3; ++k) {
        unsigned word = 0;
        #pragma unroll
        for (int j = 4 * k; j < 4 * k + 4; ++j) word |= to_byte(sums[j / 3][j % 3]) << j % 4 * 8;
        across.out[lane][column * 3 / 4 + k] = word;
    }
    __syncthreads();
}
