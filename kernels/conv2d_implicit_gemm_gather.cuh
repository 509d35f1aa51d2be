// Where the chunks of A (image taps) and B (filter) come from, walking along gemm_k. Two forms:
//
//   WHOLE_TAPS    C % BK == 0: a tile lies within one tap, and R*S <= 32. Which taps of a row are inside the image is a mask made
//                 once; a step is an addition and a bit test. In memory the next tap of a filter row follows the last one's
//                 channels, so that only the next row of the filter is a jump.
//   otherwise     C % 8 == 0: every chunk has a tap of its own.
//
// ProjectingGather (PROJECTION) goes on from the first form along gemm_k: after the filter's last tap come the channels of another image,
// at one pixel for each row, and of another filter: the block's shortcut, C0 % BK == 0.
//
// All:    Gather(x, w, p, begin, end)   before tile `begin` of gemm_k; past tile `end` chunks are invalid
//         advance()                     one tile on
//         a(move)  b(move)              call move(i, source, valid) for each of the thread's rows of A or B; an invalid chunk is
//                                       zero, and its source is not to be read
// Places are 32-bit indices of elements, as arrays hold less than 2^31. Filters past the last are the last one again: what becomes
// of them is not stored.
#pragma once

// The pixels of this thread's rows of A, for the blocks' x: row `threadIdx.x / CHUNKS + i * PASS`.
struct Rows {
    int pixel[A_ROWS]; // of tap (0, 0), in x; outside the image near its border
    int h0[A_ROWS];    // that pixel's row and column; a residue row has an h0 that no tap brings into the image
    int w0[A_ROWS];

    __device__ explicit Rows(const Conv2dParams& p) {
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            const int m = blockIdx.x * BM + threadIdx.x / CHUNKS + i * PASS;
            const int image = m / (p.p * p.q), inside = m % (p.p * p.q);
            h0[i] = m < p.gemm_m ? inside / p.q * p.stride - p.pad : p.h;
            w0[i] = inside % p.q * p.stride - p.pad;
            pixel[i] = (image * p.h + h0[i]) * p.w + w0[i];
        }
    }
};

// Whether row i of this thread is one of B: its last pass may have more rows than are left.
__device__ inline bool is_filter(int i) { return i < BN / PASS || (int)threadIdx.x / CHUNKS < BN % PASS; }

// The start of row i of B, in a filter of `depth` elements a row.
__device__ inline int filter_at(const Conv2dParams& p, int i, int depth) {
    const int n = blockIdx.y * BN + threadIdx.x / CHUNKS + i * PASS;
    return (n < p.k ? n : p.k - 1) * depth;
}

#if WHOLE_TAPS
struct Gather {
    const Element* x;          // moved to the current tap and channels
    const Element* w;
    int a_at[A_ROWS];      // in x
    unsigned taps[A_ROWS]; // bit r*S + s: that tap is inside the image
    int b_at[B_ROWS];      // in w
    unsigned tap;          // its bit
    int tiles;             // left
    int tiles_of_tap, taps_of_row;           // left, the current one included
    const int tap_tiles, row_taps, row_step; // of a whole tap, of a whole row; to the next row of the filter

    __device__ Gather(const Element* x0, const Element* w0, const Conv2dParams& p, int begin, int end)
        : tiles(end - begin), tap_tiles(p.c / BK), row_taps(p.s), row_step((p.w - p.s) * p.c + BK) {
        const int chunk = threadIdx.x % CHUNKS * CHUNK;
        const Rows rows(p);
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            a_at[i] = rows.pixel[i] * p.c + chunk;
            // The columns first to last - 1 of the filter are inside the image.
            const int first = min(max(-rows.w0[i], 0), p.s), last = min(max(p.w - rows.w0[i], first), p.s);
            const unsigned columns = (unsigned)((1ull << last) - (1ull << first));
            taps[i] = 0;
            for (int r = 0; r < p.r; ++r) {
                if ((unsigned)(rows.h0[i] + r) < (unsigned)p.h) taps[i] |= columns << r * p.s;
            }
        }
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) b_at[i] = filter_at(p, i, p.gemm_k) + chunk;
        const int number = begin / tap_tiles, r = number / p.s, s = number % p.s;
        tap = 1u << number;
        tiles_of_tap = tap_tiles - begin % tap_tiles;
        taps_of_row = p.s - s;
        w = w0 + begin * BK;
        x = x0 + (r * p.w + s) * p.c + begin % tap_tiles * BK;
    }

    __device__ void advance() {
        --tiles;
        const bool next_tap = --tiles_of_tap == 0;
        tiles_of_tap = next_tap ? tap_tiles : tiles_of_tap;
        tap <<= next_tap;
        taps_of_row -= next_tap;
        const bool next_row = taps_of_row == 0;
        taps_of_row = next_row ? row_taps : taps_of_row;
        x += next_row ? row_step : BK;
        w += BK;
    }

    template <typename Move>
    __device__ void a(Move move) const {
        const unsigned bit = tiles > 0 ? tap : 0;
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) move(i, x + a_at[i], (taps[i] & bit) != 0);
    }

    template <typename Move>
    __device__ void b(Move move) const {
        const bool valid = tiles > 0;
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) {
            if (is_filter(i)) move(i, w + b_at[i], valid);
        }
    }
};
#else
struct Gather {
    const Element* x;
    const Element* w;
    const Conv2dParams& p;
    const Rows rows;
    int b_at[B_ROWS]; // in w
    int r, s, c, k;   // tap and channel of this thread's chunk; k = its position along gemm_k
    const int end;    // of the range, in k

    __device__ Gather(const Element* x, const Element* w, const Conv2dParams& p, int begin, int end)
        : x(x), w(w), p(p), rows(p), k(begin * BK + threadIdx.x % CHUNKS * CHUNK), end(min(end * BK, p.gemm_k)) {
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) b_at[i] = filter_at(p, i, p.gemm_k);
        const int tap = k / p.c;
        c = k % p.c;
        r = tap / p.s;
        s = tap % p.s;
    }

    // Few channels make several taps a step: C = 8 makes four.
    __device__ void advance() {
        k += BK;
        c += BK;
        while (c >= p.c) {
            c -= p.c;
            if (++s == p.s) {
                s = 0;
                ++r;
            }
        }
    }

    template <typename Move>
    __device__ void a(Move move) const {
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            const bool inside = (unsigned)(rows.h0[i] + r) < (unsigned)p.h && (unsigned)(rows.w0[i] + s) < (unsigned)p.w;
            move(i, x + ((rows.pixel[i] + r * p.w + s) * p.c + c), k < end && inside);
        }
    }

    template <typename Move>
    __device__ void b(Move move) const {
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) {
            if (is_filter(i)) move(i, w + (b_at[i] + k), k < end);
        }
    }
};
#endif

#if PROJECTION
static_assert(WHOLE_TAPS, "a step lies within one tap, or within the projection");

// The pixels that the projection reads for the block's rows, or -1 for a residue row: kept here until they are needed, as registers
// are scarce. All threads of a row are in one warp.
__device__ inline int* projected_pixels() {
    __shared__ int pixels[BM];
    return pixels;
}

__device__ inline void keep_projected_pixels(const Conv2dParams& p, const ProjectionParams& projection) {
    if (threadIdx.x % CHUNKS == 0) {
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            const int row = threadIdx.x / CHUNKS + i * PASS, m = blockIdx.x * BM + row;
            const int image = m / (p.p * p.q), inside = m % (p.p * p.q);
            const int h = inside / p.q * projection.stride, w = inside % p.q * projection.stride;
            projected_pixels()[row] = m < p.gemm_m ? (image * projection.h + h) * projection.w + w : -1;
        }
    }
    __syncwarp(); // they are read by other lanes than wrote them
}

struct ProjectingGather : Gather {
    const Conv2dParams& p;
    const Projection& projection;
    const int projected; // tiles that are left where the projection begins

    __device__ ProjectingGather(const Element* x0, const Element* w0, const Conv2dParams& p, const Projection& projection, int begin,
                                int end)
        : Gather(x0, w0, p, min(begin, p.gemm_k / BK - 1), end), p(p), projection(projection), projected(end - p.gemm_k / BK) {
        keep_projected_pixels(p, projection.params);
        tiles = end - begin;
        if (tiles > projected) return;
        project();
        x += (projected - tiles) * BK;
        w += (projected - tiles) * BK;
    }

    // From the filter's last tile to the projection's first.
    __device__ void project() {
        const int chunk = threadIdx.x % CHUNKS * CHUNK, c = projection.params.c;
        x = projection.x;
        w = projection.w;
        tap = 1;
        tiles_of_tap = 0x7fffffff; // no other tap follows
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            const int pixel = projected_pixels()[threadIdx.x / CHUNKS + i * PASS];
            a_at[i] = pixel * c + chunk;
            taps[i] = pixel >= 0;
        }
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) b_at[i] = filter_at(p, i, c) + chunk;
    }

    __device__ void advance() {
        Gather::advance();
        if (tiles == projected) project();
    }
};
using Walk = ProjectingGather;
#else
using Walk = Gather;
#endif
