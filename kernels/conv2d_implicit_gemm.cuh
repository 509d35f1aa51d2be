// The parts that both forms of the tensor-core convolution share: tile geometry, the gather of taps, the warp's product and
// the epilogue. The main loops, which differ in how tiles reach shared memory, are in the .cu files.
#pragma once

#include "conv2d.cuh"

// BM BN BK WM WN STAGES come from the table of variants (src/cuda/variants.rs).
constexpr int WARPS_M = BM / WM;
constexpr int WARPS_N = BN / WN;
constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int CHUNK = 8;              // f16 per 16-byte access
constexpr int CHUNKS = BK / CHUNK;    // per row of a tile
constexpr int PASS = THREADS / CHUNKS; // rows that the block moves at a time, one chunk per thread
constexpr int A_ROWS = BM / PASS;     // of a thread
constexpr int B_ROWS = BN / PASS;

static_assert(BK == 32, "the swizzle below is made for rows of 64 bytes");
static_assert(BM % WM == 0 && BN % WN == 0, "warps cover the block's tile exactly");
static_assert(WM % 16 == 0, "a warp's rows are made of mma tiles");
static_assert(WN % 32 == 0, "ldmatrix.x4 reads two mma tiles of columns; the epilogue's rows are 32 or 64 wide");
static_assert(BM % PASS == 0 && BN % PASS == 0, "every thread moves the same number of rows");

struct Stage {
    uint4 a[BM * CHUNKS]; // [BM][BK], chunks swizzled
    uint4 b[BN * CHUNKS]; // [BN][BK], chunks swizzled
};

// Where chunk `chunk` of row `row` lies. Two rows of 64 bytes span all 32 banks, so eight rows of one chunk column, which
// one phase of ldmatrix reads, would hit only two groups of banks; XOR with the pair's number spreads them over all eight.
// Writes stay free of conflicts: eight threads fill two whole rows.
__device__ inline int swizzled(int row, int chunk) { return row * CHUNKS + (chunk ^ ((row >> 1) & 3)); }

// This thread's chunks of the A tile (image taps) and the B tile (filter) as places that walk along gemm_k. Places are 32-bit
// indices: arrays hold less than 2^31 elements, and an index that wraps is one that is not used.
struct Gather {
    const f16* x;
    const f16* w;
    int pixel[A_ROWS];     // of tap (0, 0) of the output pixel; outside the image near its border
    int h0[A_ROWS];        // that pixel's row and column; a residue row has an h0 that no tap brings into the image
    int w0[A_ROWS];
    unsigned w_at[B_ROWS]; // in w
    unsigned w_valid = 0;  // bit i: row i of B is inside
    int r, s, c, k;        // current tap and channel; k = position along gemm_k

    __device__ Gather(const f16* x, const f16* w, const Conv2dParams& p) : x(x), w(w) {
        const int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            const int m = blockIdx.x * BM + row + i * PASS;
            const int image = m / (p.p * p.q), inside = m % (p.p * p.q);
            h0[i] = m < p.gemm_m ? inside / p.q * p.stride - p.pad : p.h;
            w0[i] = inside % p.q * p.stride - p.pad;
            pixel[i] = (image * p.h + h0[i]) * p.w + w0[i];
        }
        k = chunk * CHUNK;
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) {
            const int n = blockIdx.y * BN + row + i * PASS;
            if (n < p.k) w_valid |= 1u << i;
            w_at[i] = (unsigned)n * p.gemm_k + k;
        }
        const int tap = k / p.c;
        c = k % p.c;
        r = tap / p.s;
        s = tap % p.s;
    }

    // Goes BK further along gemm_k. Few channels make several taps a step: C = 8 makes four.
    __device__ void advance(const Conv2dParams& p) {
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

    // Calls move(index in Stage::a, source, valid) for each chunk; the source of an invalid one is the start of the array.
    template <typename Move>
    __device__ void a(const Conv2dParams& p, Move move) const {
        const int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
        const bool deep = k < p.gemm_k;
#pragma unroll
        for (int i = 0; i < A_ROWS; ++i) {
            const bool inside = (unsigned)(h0[i] + r) < (unsigned)p.h && (unsigned)(w0[i] + s) < (unsigned)p.w;
            const bool valid = deep && inside;
            const unsigned at = (unsigned)(pixel[i] + r * p.w + s) * p.c + c;
            move(swizzled(row + i * PASS, chunk), x + (valid ? at : 0), valid);
        }
    }

    // The same for Stage::b.
    template <typename Move>
    __device__ void b(const Conv2dParams& p, Move move) const {
        const int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
        const int walked = k - chunk * CHUNK;
        const bool deep = k < p.gemm_k;
#pragma unroll
        for (int i = 0; i < B_ROWS; ++i) {
            const bool valid = deep && (w_valid >> i & 1);
            move(swizzled(row + i * PASS, chunk), w + (valid ? w_at[i] + walked : 0), valid);
        }
    }
};

constexpr int MMA_M = WM / 16; // mma tiles of a warp
constexpr int MMA_N = WN / 8;

// acc += A tile * B tile, for this warp's WM x WN part.
__device__ inline void multiply(const Stage& stage, float (&acc)[MMA_M][MMA_N][4]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int m0 = warp / WARPS_N * WM, n0 = warp % WARPS_N * WN;
#pragma unroll
    for (int kk = 0; kk < BK / 16; ++kk) {
        unsigned a[MMA_M][4], b[MMA_N / 2][4];
        // Matrices 0..3 of A: rows 0-7 and 8-15 of the low chunk, then of the high chunk.
#pragma unroll
        for (int i = 0; i < MMA_M; ++i) {
            ptx::ldmatrix_x4(a[i], ptx::shared_address(&stage.a[swizzled(m0 + i * 16 + lane % 16, kk * 2 + lane / 16)]));
        }
        // Matrices 0..3 of B: low and high chunk of columns 0-7, then of columns 8-15.
#pragma unroll
        for (int j = 0; j < MMA_N / 2; ++j) {
            const int n = n0 + j * 16 + lane / 16 * 8 + lane % 8;
            ptx::ldmatrix_x4(b[j], ptx::shared_address(&stage.b[swizzled(n, kk * 2 + lane / 8 % 2)]));
        }
#pragma unroll
        for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
            for (int j = 0; j < MMA_N; ++j) {
                const unsigned b0 = b[j / 2][j % 2 * 2], b1 = b[j / 2][j % 2 * 2 + 1];
#if __CUDA_ARCH__ >= 800
                ptx::mma_m16n8k16(acc[i][j], a[i], b0, b1);
#else
                ptx::mma_m16n8k8(acc[i][j], a[i][0], a[i][1], b0);
                ptx::mma_m16n8k8(acc[i][j], a[i][2], a[i][3], b1);
#endif
            }
        }
    }
}

// Each warp turns 16 rows of accumulators at a time into rows of 16-byte stores, in a part of shared memory of its own.
// The row's length is 8 modulo 32 words, which keeps both the 8-byte writes and the 16-byte reads free of bank conflicts.
constexpr int SLAB_LD = WN + 8;
struct Slab {
    float v[16][SLAB_LD];
};

union Smem {
    Stage stage[STAGES];
    Slab slab[WARPS_M * WARPS_N];
};
static_assert(sizeof(Smem) == sizeof(Stage) * STAGES, "the epilogue fits into the memory that the host asks for");

// y = epilogue(acc). All warps are done with the stages.
template <typename Epilogue>
__device__ void store(Smem& smem, const float (&acc)[MMA_M][MMA_N][4], f16* y, const Epilogue& epilogue, const Conv2dParams& p) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int m0 = blockIdx.x * BM + warp / WARPS_N * WM, n0 = blockIdx.y * BN + warp % WARPS_N * WN;
    Slab& slab = smem.slab[warp];
#pragma unroll
    for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
        for (int j = 0; j < MMA_N; ++j) {
            const int row = lane / 4, column = j * 8 + lane % 4 * 2;
            *(float2*)&slab.v[row][column] = make_float2(acc[i][j][0], acc[i][j][1]);
            *(float2*)&slab.v[row + 8][column] = make_float2(acc[i][j][2], acc[i][j][3]);
        }
        __syncwarp(); // the rows are read by other lanes than wrote them
        constexpr int ROW_CHUNKS = WN / CHUNK;
#pragma unroll
        for (int l = lane; l < 16 * ROW_CHUNKS; l += 32) {
            const int row = l / ROW_CHUNKS, column = l % ROW_CHUNKS * CHUNK;
            // Half of the lanes read their upper four words first: all at once would share half of the banks.
            const int flip = lane / 4 % 2 * 4;
            const float4 first = *(const float4*)&slab.v[row][column + flip];
            const float4 second = *(const float4*)&slab.v[row][column + (flip ^ 4)];
            const float4 low = flip ? second : first, high = flip ? first : second;
            const int m = m0 + i * 16 + row, k = n0 + column;
            if (m < p.gemm_m && k < p.k) { // K is a multiple of 8: a chunk is inside or outside
                float v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
                const size_t at = (size_t)m * p.k + k;
                epilogue(v, k, at);
                Vector<CHUNK, f16>::store(y + at, v);
            }
        }
        __syncwarp(); // the next rows overwrite these
    }
}

// The four entries, after the file that includes this has defined conv2d(). FORM is the start of their names.
#define ENTRY(epilogue) extern "C" __global__ void __launch_bounds__(THREADS) NAMED(FORM, BM, BN, BK, epilogue)
#define ENTRIES                                                                                                              \
    ENTRY(none)(const f16* x, const f16* w, f16* y, Conv2dParams p) { conv2d(x, w, y, None{}, p); }                          \
    ENTRY(bias)(const f16* x, const f16* w, const float* bias, f16* y, Conv2dParams p) { conv2d(x, w, y, Bias{bias}, p); }   \
    ENTRY(bias_relu)(const f16* x, const f16* w, const float* bias, f16* y, Conv2dParams p) {                                \
        conv2d(x, w, y, BiasRelu{{bias}}, p);                                                                                \
    }                                                                                                                        \
    ENTRY(bias_residual_relu)                                                                                                \
    (const f16* x, const f16* w, const float* bias, const f16* residual, f16* y, Conv2dParams p) {                           \
        conv2d(x, w, y, BiasResidualRelu<f16>{{bias}, residual}, p);                                                         \
    }
