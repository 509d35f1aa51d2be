// The stem's tiles, and how a tile's image patch reaches shared memory.
#pragma once
#include "elements.cuh"

struct StemParams {
    int h, w, k;          // image and channels of y
    int conv_p, conv_q;   // extents of the convolution's output
    int p, q;             // of y
    int rows;             // of y in a tile
    int tiles_x, tiles_y; // of one image
    int tiles;            // of all
    int bytes;            // of x
};
static_assert(sizeof(StemParams) == 48, "the host's twin has 48 bytes");

// Two elements in one register; the first has the lower bits.
template <typename T>
__device__ __forceinline__ unsigned pair_from_f32(float low, float high) {
    return ptx::f16x2_from_f32(low, high);
}
#if __CUDA_ARCH__ >= 800
template <>
__device__ __forceinline__ unsigned pair_from_f32<bf16>(float low, float high) {
    return ptx::bf16x2_from_f32(low, high);
}

template <typename T>
__device__ __forceinline__ unsigned max_nan_pair(unsigned a, unsigned b) {
    return ptx::max_nan_f16x2(a, b);
}
template <>
__device__ __forceinline__ unsigned max_nan_pair<bf16>(unsigned a, unsigned b) {
    return ptx::max_nan_bf16x2(a, b);
}

template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    ptx::mma_m16n8k16(d, a, b0, b1);
}
template <>
__device__ __forceinline__ void mma_m16n8k16<bf16>(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    ptx::mma_m16n8k16_bf16(d, a, b0, b1);
}
#endif

constexpr int WARP = 32;
constexpr int STRIPS = 2;        // side by side in a tile
constexpr int STRIP_CONV = 32;   // columns of the convolution that a warp computes at a time,
constexpr int STRIP_POOLED = 15; // columns of y that they suffice for: 2 * 15 + 1 columns
constexpr int GROUP = 32;        // channels of y of a warp
constexpr int GROUPS = 2;        // of a block, at most
constexpr int TILE_Q = STRIPS * STRIP_POOLED;
static_assert(TILE_Q == TILE_COLUMNS, "the host counts tiles by it");

// ---- the image patch ---------------------------------------------------------------------------------------------------

constexpr int HALF_WINDOW = 5;                                   // image columns and rows before the first that 4 * (first of y) names
constexpr int PATCH_COLUMNS = 2 * (2 * TILE_Q + 2) + 5;          // of the image
constexpr int PATCH_WORDS = (3 * PATCH_COLUMNS + 1) / 2;         // two f16 each
constexpr int PITCH = PATCH_WORDS % 2 == 0 ? PATCH_WORDS + 1 : PATCH_WORDS; // words; odd, see Taps
constexpr int SECTOR = 32; // bytes that memory moves at least

// Bytes of a row as it is in memory: its patch from the sector's start on.
constexpr int RAW_PITCH = (PATCH_WORDS * 4 + SECTOR - 1 + SECTOR - 1) / SECTOR * SECTOR;

struct Tile {
    int image, i0, j0; // first row and column of y

    __device__ Tile(int index, const StemParams& p) {
        const int per_image = p.tiles_x * p.tiles_y, inside = index % per_image;
        image = index / per_image;
        i0 = inside / p.tiles_x * p.rows;
        j0 = inside % p.tiles_x * TILE_Q;
    }
};

// A row of the patch in x. Each is fetched and converted by one warp.
template <typename T>
struct PatchRow {
    int start;       // byte of x where the patch's first column is or would be
    int from, count; // elements of the patch that are in the image

    __device__ PatchRow(const Tile& tile, int row, const StemParams& p) {
        const int h = 4 * tile.i0 - HALF_WINDOW + row, w = 4 * tile.j0 - HALF_WINDOW;
        start = ((tile.image * p.h + h) * p.w + w) * 3 * (int)sizeof(T);
        const bool inside = (unsigned)h < (unsigned)p.h;
        from = max(-w, 0) * 3;
        count = inside ? max(min((p.w - w) * 3, PATCH_WORDS * 2) - from, 0) : 0;
    }
    // The first byte's place in the raw row.
    __device__ int skew() const { return start & (SECTOR - 1); }
};

__device__ inline int patch_rows(const StemParams& p) { return 4 * p.rows + 7; }

// Starts to copy 16 bytes, or the first `bytes` of them if that is less; what follows those has no value.
__device__ __forceinline__ void copy_16(unsigned char* to, const unsigned char* from, int bytes) {
#if __CUDA_ARCH__ >= 800
    ptx::cp_async_16_first(ptx::shared_address(to), from, min(bytes, 16));
#else
    if (bytes >= 16) {
        *(uint4*)to = __ldg((const uint4*)from);
    } else {
        for (int i = 0; i < bytes; ++i) to[i] = __ldg(from + i);
    }
#endif
}

// Waits for this thread's copies.
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
#endif
}

// Starts to copy the rows of this warp, as they are in memory, with the sectors that they share with others.
template <typename T>
__device__ void fetch(const T* x, unsigned char* raw, const Tile& tile, const StemParams& p) {
    const int lane = threadIdx.x % WARP;
    for (int row = threadIdx.x / WARP; row < patch_rows(p); row += blockDim.x / WARP) {
        const PatchRow<T> at(tile, row, p);
        const int first = at.start + at.from * (int)sizeof(T), end = first + at.count * (int)sizeof(T);
#pragma unroll
        for (int chunk = lane * 16; chunk < RAW_PITCH; chunk += WARP * 16) {
            const int byte = at.start - at.skew() + chunk;
            if (at.count > 0 && byte + 16 > first && byte < end) {
                copy_16(raw + row * RAW_PITCH + chunk, (const unsigned char*)x + byte, p.bytes - byte);
            }
        }
    }
}

// The rows of this warp, from what has been fetched.
template <typename T>
__device__ void convert(const unsigned char* raw, unsigned* patch, const Tile& tile, const StemParams& p) {
    const int lane = threadIdx.x % WARP;
#pragma unroll 1
    for (int row = threadIdx.x / WARP; row < patch_rows(p); row += blockDim.x / WARP) {
        const PatchRow<T> at(tile, row, p);
        const T* from = (const T*)(raw + row * RAW_PITCH + at.skew());
#pragma unroll
        for (int i = 0; i < ceil_div(PATCH_WORDS, WARP); ++i) {
            const int word = i * WARP + lane;
            if (i < PATCH_WORDS / WARP || word < PATCH_WORDS) {
                const unsigned element = word * 2 - at.from, count = at.count;
                const unsigned low = element < count ? from[word * 2].bits : 0, high = element + 1 < count ? from[word * 2 + 1].bits : 0;
                patch[row * PITCH + word] = low | high << 16;
            }
        }
    }
}

