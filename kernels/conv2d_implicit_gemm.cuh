// The tensor-core convolution, but for how tiles reach shared memory: tile geometry, the warps' product, the main loop and the
// entry. What walks along gemm_k is in conv2d_implicit_gemm_gather.cuh, what adds up the parts of blocks that share a tile in
// conv2d_implicit_gemm_split.cuh, the epilogue in conv2d_implicit_gemm_store.cuh; the .cu files bring `Copies`.
//
//   Copies::start(stage, gather)   begins to move one tile of A and B to a stage; nothing is read where the range has ended
//   Copies::land(stage)            every tile but the newest STAGES - 2 is in shared memory (as this thread's part is concerned);
//                                  `stage` is the one that was started last
//   Copies::drain()                all of them are
#pragma once

#include "conv2d.cuh"

// BM BN BK WM WN STAGES, WHOLE_TAPS, PROJECTION and ARITHMETIC come from the table of variants (src/cuda/variants.rs).
#define F16 0      // elements f16, sums f32
#define F16_SUMS 1 // elements f16, sums f16 over the depth of a tile, f32 beyond it
#define BF16 2     // elements bf16, sums f32
#if ARITHMETIC == BF16
using Element = bf16;
#else
using Element = f16;
#endif

constexpr int WARPS_M = ceil_div(BM, WM);
constexpr int WARPS_N = ceil_div(BN, WN);
constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int CHUNK = 8;               // elements per 16-byte access
constexpr int CHUNKS = BK / CHUNK;     // per row of a tile
constexpr int ROW_BYTES = BK * 2;
constexpr int PASS = THREADS / CHUNKS; // rows that the block moves at a time, one chunk per thread
constexpr int A_ROWS = BM / PASS;      // of a thread
constexpr int B_ROWS = ceil_div(BN, PASS); // of which not every thread has the last
constexpr int STEPS = BK / 16;         // mma depths in a tile
constexpr int MMA_M = WM / 16;         // mma tiles of a warp
constexpr int MMA_N = WN / 8;

static_assert(BK == 32 || BK == 64, "the swizzle below is made for rows of 64 or 128 bytes, the main loop for two steps or more");
static_assert(WM % 16 == 0 && BM % 16 == 0, "a warp's rows are made of mma tiles");
static_assert(WN % 8 == 0 && BN % 8 == 0, "a warp's columns are made of mma tiles");
static_assert(BM >= WM && BN >= WN, "a warp's part lies in the block's tile");
#if __CUDA_ARCH__ < 800
static_assert(MMA_N % 2 == 0, "there ldmatrix.x2 reads the addresses of all lanes");
#endif
static_assert(BM % PASS == 0, "every thread moves the same number of rows of A");
static_assert(PASS % 8 == 0, "all rows of a thread are swizzled alike");

// Stages are addressed in bytes from the start of shared memory: A [BM][BK], then B [BN][BK], chunks swizzled.
constexpr unsigned A_BYTES = BM * ROW_BYTES;
constexpr unsigned STAGE_BYTES = (BM + BN) * ROW_BYTES;

// Which of its row's places chunk `chunk` of row `row` takes. One phase of ldmatrix reads one chunk of eight rows, which must hit
// all eight groups of four banks. A row of 128 bytes spans the banks once: XOR with the row. Two rows of 64 bytes do: XOR with
// the pair. Writes stay free of conflicts: eight threads fill whole rows.
__device__ inline int swizzled(int row, int chunk) { return chunk ^ (CHUNKS == 8 ? row & 7 : (row >> 1) & 3); }

// A warp's area of the block's tile. Where areas do not fit the tile's rows or columns a whole number of times, the last one lies over
// the end of the one before. What both warps compute is the earlier one's to hand on; columns are the later one's where the tile begins
// in the middle of a sector, so that both end and begin with whole ones.
struct Area {
    static constexpr int TWICE_M = WARPS_M * WM - BM, TWICE_N = WARPS_N * WN - BN; // first rows, columns that the one before has, too
    const int down = threadIdx.x / 32 / WARPS_N, across = threadIdx.x / 32 % WARPS_N;

    __device__ int row() const { return TWICE_M == 0 ? down * WM : min(down * WM, BM - WM); }
    __device__ int column() const { return TWICE_N == 0 ? across * WN : min(across * WN, BN - WN); }
    // Whether the warp hands on the mma tiles from its row or column `at`.
    __device__ bool has_rows(int at) const { return at >= TWICE_M || down < WARPS_M - 1; }
    __device__ bool has_columns(int at) const {
        if constexpr (TWICE_N == 0) return true;
        const int owner = WARPS_N - 2 + (int)(blockIdx.y * BN / CHUNK % 2);
        const bool is_shared = across == WARPS_N - 1 ? at < TWICE_N : across == WARPS_N - 2 && at >= WN - TWICE_N;
        return !is_shared || across == owner;
    }
    __device__ bool has(int row, int column) const { return has_rows(row) && has_columns(column); }
};

// From a stage to the one that is filled or read next.
__device__ inline unsigned next_stage(unsigned stage) { return stage == (STAGES - 1) * STAGE_BYTES ? 0 : stage + STAGE_BYTES; }

// A residual block's shortcut, a 1x1 convolution of the block's input, whose products are added to the same sums (PROJECTION):
// x f16 [n, h, w, c] at every `stride`-th row and column, w f16 [k, c].
struct ProjectionParams {
    int h, w, c, stride;
};
static_assert(sizeof(ProjectionParams) == 16, "as the host fills it");
struct Projection {
    const Element* x;
    const Element* w;
    const ProjectionParams& params;
};

#include "conv2d_implicit_gemm_gather.cuh"

// What a warp multiplies in one step.
struct Fragments {
    unsigned a[MMA_M][4], b[ceil_div(MMA_N, 2)][4];
};

// Where a lane reads its fragments of step 0. Rows that it reads are multiples of eight apart, so that all have one swizzle, and
// as XOR is bitwise, step `kk` is at `address ^ kk * 32` (two chunks on).
struct Reader {
    unsigned a, b;

    __device__ explicit Reader(unsigned memory) {
        const int lane = threadIdx.x % 32;
        const Area area;
        // Matrices 0..3 of A: rows 0-7 and 8-15 of the low chunk, then of the high chunk.
        const int m = area.row() + lane % 16;
        a = memory + m * ROW_BYTES + swizzled(m, lane / 16) * 16;
        // Matrices 0..3 of B: low and high chunk of columns 0-7, then of columns 8-15; of an odd number of mma tiles the last are two.
        const int n = area.column() + lane / 16 * 8 + lane % 8;
        b = memory + A_BYTES + n * ROW_BYTES + swizzled(n, lane / 8 % 2) * 16;
    }

    __device__ void read(Fragments& to, unsigned stage, int kk) const {
        const unsigned from_a = (a + stage) ^ (kk * 32), from_b = (b + stage) ^ (kk * 32);
#pragma unroll
        for (int i = 0; i < MMA_M; ++i) ptx::ldmatrix_x4(to.a[i], from_a + i * 16 * ROW_BYTES);
#pragma unroll
        for (int j = 0; j < MMA_N / 2; ++j) ptx::ldmatrix_x4(to.b[j], from_b + j * 16 * ROW_BYTES);
        if constexpr (MMA_N % 2 == 1) ptx::ldmatrix_x2(to.b[MMA_N / 2], from_b + MMA_N / 2 * 16 * ROW_BYTES);
    }
};

// The sums of a warp's WM x WN part.
struct Sums {
    float v[MMA_M][MMA_N][4] = {};
#if ARITHMETIC == F16_SUMS
    unsigned part[MMA_M][MMA_N][2]; // of the current tile, in f16
#endif

    // Adds step `kk` of a tile.
    __device__ void multiply(const Fragments& f, int kk) {
#pragma unroll
        for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
            for (int j = 0; j < MMA_N; ++j) {
                const unsigned b0 = f.b[j / 2][j % 2 * 2], b1 = f.b[j / 2][j % 2 * 2 + 1];
#if ARITHMETIC == F16_SUMS
                unsigned(&d)[2] = part[i][j];
                const unsigned c0 = kk == 0 ? 0 : d[0], c1 = kk == 0 ? 0 : d[1];
#if __CUDA_ARCH__ >= 800
                ptx::mma_m16n8k16_f16(d, f.a[i], b0, b1, c0, c1);
#else
                ptx::mma_m16n8k8_f16(d, f.a[i][0], f.a[i][1], b0, c0, c1);
                ptx::mma_m16n8k8_f16(d, f.a[i][2], f.a[i][3], b1, d[0], d[1]);
#endif
#elif ARITHMETIC == BF16
                ptx::mma_m16n8k16_bf16(v[i][j], f.a[i], b0, b1);
#elif __CUDA_ARCH__ >= 800
                ptx::mma_m16n8k16(v[i][j], f.a[i], b0, b1);
#else
                ptx::mma_m16n8k8(v[i][j], f.a[i][0], f.a[i][1], b0);
                ptx::mma_m16n8k8(v[i][j], f.a[i][2], f.a[i][3], b1);
#endif
            }
        }
    }

    // After the last step of a tile: BK products at most are summed in f16.
    __device__ void end_tile() {
#if ARITHMETIC == F16_SUMS
#pragma unroll
        for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
            for (int j = 0; j < MMA_N; ++j) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float even, odd;
                    ptx::f32x2_from_f16x2(part[i][j][half], even, odd);
                    v[i][j][2 * half] += even;
                    v[i][j][2 * half + 1] += odd;
                }
            }
        }
#endif
    }
};

#include "conv2d_implicit_gemm_split.cuh"
#include "conv2d_implicit_gemm_store.cuh"

// sums += A * B over the `tiles` tiles of gemm_k that `gather` stands before. Fragments are read one step ahead of their use, over
// the end of a tile too, so that the tensor cores wait neither for shared memory nor, past the barrier, for the first read.
template <typename Copies, typename Gather>
__device__ void main_loop(unsigned char* memory, Gather& gather, int tiles, Sums& sums) {
    Copies copies(memory);
    const Reader reader(ptx::shared_address(memory));
    Fragments fragments[2];
    unsigned filling = 0, reading = 0;
#pragma unroll
    for (int t = 0; t < STAGES - 1; ++t) {
        copies.start(filling, gather);
        gather.advance();
        if (t < STAGES - 2) filling = next_stage(filling);
    }
    copies.land(filling);
    __syncthreads();
    filling = next_stage(filling);
    reader.read(fragments[0], reading, 0);
    for (int t = 0; t < tiles; ++t) {
#pragma unroll
        for (int kk = 0; kk < STEPS; ++kk) {
            if (kk == 0) {
                copies.start(filling, gather); // the stage whose last reads were before the last barrier
                gather.advance();
            }
            if (kk == STEPS - 1) {
                copies.land(filling);
                __syncthreads(); // everyone's part of the next tile has arrived, and everyone has read the last of this one
                filling = next_stage(filling);
                reading = next_stage(reading);
            }
            // Past the last tile these are zeros that nobody multiplies.
            reader.read(fragments[(kk + 1) % 2], reading, (kk + 1) % STEPS);
            sums.multiply(fragments[kk % 2], kk);
        }
        sums.end_tile();
    }
    copies.drain();
    __syncthreads(); // the epilogue reuses the stages
}

// The network's parameters on their way to L2: a part of them for each of the blocks with the first rows, by one thread. Where there are few
// rows, and filters are most of what is read, these begin at once; elsewhere some begin later, and ask for what has been read.
template <typename... Projections>
__device__ inline void prefetch(const Element* w, const Epilogue& epilogue, const Conv2dParams& p, const Projections&... projection) {
    const unsigned parts = gridDim.y * gridDim.z, part = blockIdx.z * gridDim.y + blockIdx.y;
    prefetch_part(w, (unsigned)p.k * p.gemm_k, part, parts);
    (prefetch_part(projection.w, (unsigned)p.k * projection.params.c, part, parts), ...);
    if (epilogue.bias.bias) prefetch_part(epilogue.bias.bias, p.k, part, parts);
}

// `operands`: the projection, in the forms that have one.
template <typename Copies, typename... Operands>
__device__ void conv2d(const Element* x, const Element* w, Element* y, const Epilogue& epilogue, const Workspace& workspace,
                       const Conv2dParams& p, int depth, const Step& step, const Operands&... operands) {
    extern __shared__ __align__(128) unsigned char memory[];
    Sums sums;
    if (blockIdx.x == 0 && threadIdx.x == 0) prefetch(w, epilogue, p, operands...);
    begin_step(step);
    // This block's part of gemm_k; parts differ by one tile at most.
    const unsigned tiles = ceil_div(depth, BK), splits = gridDim.z;
    const int begin = tiles * blockIdx.z / splits, end = tiles * (blockIdx.z + 1) / splits;
    Walk gather(x, w, p, operands..., begin, end);
    main_loop<Copies>(memory, gather, end - begin, sums);
    if (splits > 1 && !combine(sums, workspace)) return;
    store(memory, sums, y, epilogue, p);
}

// The entry, after the file that includes this has defined Copies. FORM is the start of its name. `bias` and `residual` may be
// null; with a projection there is no residual, the bias is of both convolutions, and ReLU always follows.
#define TILED_(stem, bm, bn, bk) stem##_##bm##x##bn##x##bk
#define TILED(stem, bm, bn, bk) TILED_(stem, bm, bn, bk)
#if PROJECTION
#define ENTRY                                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                    \
        TILED(FORM, BM, BN, BK)(const Element* x, const Element* w, const float* bias, const Element* x0, const Element* w0, \
                                Element* y, Conv2dParams p, ProjectionParams projection, float4* partials,                   \
                                unsigned* counters, const Step step) {                                                       \
        conv2d<Copies>(x, w, y, Epilogue{{bias}, nullptr, true}, Workspace{partials, counters}, p, p.gemm_k + projection.c,  \
                       step, Projection{x0, w0, projection});                                                                \
    }
#else
#define ENTRY                                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                    \
        TILED(FORM, BM, BN, BK)(const Element* x, const Element* w, const float* bias, const Element* residual, Element* y,  \
                                Conv2dParams p, int relu, float4* partials, unsigned* counters, const Step step) {           \
        conv2d<Copies>(x, w, y, Epilogue{{bias}, residual, relu != 0}, Workspace{partials, counters}, p, p.gemm_k, step);    \
    }
#endif
