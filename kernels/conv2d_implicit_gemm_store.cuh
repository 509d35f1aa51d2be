// The epilogue of the tensor-core convolution.
#pragma once

// Decided at run time, the same for all threads: beside the main loop's code a choice once per store is nothing, and one entry
// instead of four compiles in a quarter of the time.
struct Epilogue {
    Bias bias;           // or null
    const Element* residual; // [n, p, q, k], or null
    bool with_relu;

    __device__ void operator()(float (&v)[CHUNK], int k, size_t at) const {
        if (bias.bias) bias(v, k, at);
        if (residual) {
            float r[CHUNK];
            Vector<CHUNK, Element>::load(residual + at, r);
#pragma unroll
            for (int i = 0; i < CHUNK; ++i) v[i] += r[i];
        }
        if (with_relu) {
#pragma unroll
            for (int i = 0; i < CHUNK; ++i) v[i] = relu(v[i]);
        }
    }
};

// Each warp turns 16 rows of accumulators at a time into rows of 16-byte stores, in a part of shared memory of its own.
// The row's length is 8 modulo 32 words, which keeps both the 8-byte writes and the 16-byte reads free of bank conflicts. Of rows of
// six chunks two are read at a time, as the last of a row and the first of the next would share banks. Pairs begin at the second chunk
// where the first lies in the middle of a sector, so that each is a whole one.
constexpr int ROW_CHUNKS = WN / CHUNK;
constexpr int ACROSS = ROW_CHUNKS == 6 ? 2 : ROW_CHUNKS;
constexpr int SLAB_LD = WN + (40 - WN % 32) % 32;
struct Slab {
    float v[16][SLAB_LD];
};
static_assert(SLAB_LD % 32 == 8 && ROW_CHUNKS % ACROSS == 0, "or there are bank conflicts");
static_assert(sizeof(Slab) * WARPS_M * WARPS_N <= STAGE_BYTES * STAGES, "the epilogue fits into the memory that the host asks for");

// y = epilogue(sums). All warps are done with the stages in `memory`.
__device__ void store(void* memory, const Sums& sums, Element* y, const Epilogue& epilogue, const Conv2dParams& p) {
    const int lane = threadIdx.x % 32;
    const Area area;
    const int m0 = blockIdx.x * BM + area.row(), n0 = blockIdx.y * BN + area.column();
    Slab& slab = ((Slab*)memory)[threadIdx.x / 32];
#pragma unroll
    for (int i = 0; i < MMA_M; ++i) {
        if (!area.has_rows(i * 16)) continue;
#pragma unroll
        for (int j = 0; j < MMA_N; ++j) {
            const int row = lane / 4, column = j * 8 + lane % 4 * 2;
            *(float2*)&slab.v[row][column] = make_float2(sums.v[i][j][0], sums.v[i][j][1]);
            *(float2*)&slab.v[row + 8][column] = make_float2(sums.v[i][j][2], sums.v[i][j][3]);
        }
        __syncwarp(); // the rows are read by other lanes than wrote them
#pragma unroll
        for (int l = lane; l < 16 * ROW_CHUNKS; l += 32) {
            int row = l / ROW_CHUNKS, column = l % ROW_CHUNKS * CHUNK;
            if constexpr (ACROSS < ROW_CHUNKS) {
                row = l / ACROSS % 16;
                column = (l / (16 * ACROSS) * ACROSS + l % ACROSS + n0 / CHUNK % 2) % ROW_CHUNKS * CHUNK;
            }
            // Half of the lanes read their upper four words first: all at once would share half of the banks.
            const int flip = (ACROSS == 2 ? lane : lane / 4) % 2 * 4;
            const float4 first = *(const float4*)&slab.v[row][column + flip];
            const float4 second = *(const float4*)&slab.v[row][column + (flip ^ 4)];
            const float4 low = flip ? second : first, high = flip ? first : second;
            const int m = m0 + i * 16 + row, k = n0 + column;
            // K is a multiple of 8: a chunk is inside or outside.
            if (m < p.gemm_m && k < p.k && area.has_columns(column)) {
                float v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
                const size_t at = (size_t)m * p.k + k;
                epilogue(v, k, at);
                Vector<CHUNK, Element>::store(y + at, v);
            }
        }
        __syncwarp(); // the next rows overwrite these
    }
}
