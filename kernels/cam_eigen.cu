// First principal component of the features' channels as a row of weights (Eigen-CAM and Eigen-Grad-CAM).
//   With m[i,c] = w[c] (x[i,c] - mean[c]), w = 1 or the gradient, and v the first right singular vector of m:
//   row[c] = w[c] v[c]   offset = sum_c row[c] mean[c]: the weighted sum less the offset is the projection m v
//   The sign is that of the projection's covariance with the weighted sum of the row that is found in the row's place (the
//   target's derivative); where that is 0, the position of the largest magnitude is positive. A row of zeros where m is 0.
//   x f32, f16 or bf16 NHWC, cells = H*W   methods [M] and rows f32 [N, T, M, C + ROW_END] as in cam_asked.cuh; only rows of EIGEN and
//   EIGEN_GRADIENT are touched: in place of the derivative comes the row
//   grid (T * their number, N, 1)   block (THREADS, 1, 1)   smem see Smem: 29 KiB for 7x7x512
//   f32, but means are summed in f64, so that a channel that is constant is exactly 0.
//   v from the Gram matrix m m^T (cells x cells), squared until it has rank 1: each squaring doubles the power to which the
//   eigenvalues are raised, so that a gap of 1e-6 between the first two is found in 24. Every direction takes part from the start.
//   Deterministic. Of equal eigenvalues the direction is any in their plane.
//   byte floor of a block: features once (read four times, from L2 or L1), the row twice
#include "cam_asked.cuh"

struct CamEigenParams {
    int cells, c;
    int targets; // T
    int methods; // M
    int eigens;  // methods of the two forms
    int across;  // threads whose entries go through a run of a matrix's columns
    int pitch;   // of matrices: odd, at least `cells`
    int turns;   // a power of two: of as many rows that follow each other, a warp stores one at a time
};
static_assert(sizeof(CamEigenParams) == 32, "the host's twin has 32 bytes");

constexpr int THREADS = WARPS * 32;
// Resident on a multiprocessor where matrices are small; on 12.0, which compiles the code for 9.0, as many would cost spills.
#if __CUDA_ARCH__ < 900
constexpr int BLOCKS = 3;
#else
constexpr int BLOCKS = 1;
#endif
constexpr int DEPTH = 64; // channels of a part of the Gram matrix
constexpr int MOST_SQUARINGS = 24;
constexpr float RANK_ONE = 1.f - 1e-4f; // sum of the squared eigenvalues over the square of their sum; one more squaring is done then

extern __shared__ float dynamic_smem[];

// Entries of a matrix that a thread has, as far apart as possible: neighbouring threads have neighbouring entries. `across` < 32 threads
// share a run of a row's columns, so that a warp's columns are in different banks. Either pitch % 32 == across, so that a warp which goes
// on in the next row goes on in the next bank, or, where there is no room for that, its rows take turns.
template <int ROWS_, int COLUMNS_>
struct Share {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_;
};
using Small = Share<4, 3>;
using Large = Share<2, 6>;

struct Smem {
    int cells, across, pitch, turns;
    float* means;   // [C]
    float* weights; // [C] of the largest magnitude 1; in the end the singular vector
    float* matrices;

    __device__ explicit Smem(const CamEigenParams& params) {
        cells = params.cells, across = params.across, pitch = params.pitch, turns = params.turns;
        means = dynamic_smem, weights = means + params.c, matrices = weights + params.c;
    }

    // Two of [max(cells, DEPTH)][pitch]; the second one first holds channels [DEPTH][cells].
    __device__ float* matrix(int i) const { return matrices + i * max(cells, DEPTH) * pitch; }
    // [cells] of each.
    __device__ float* diagonal(int i) const { return matrix(2) + i * cells; }
};

// out[i,j] = scale * sum_k in[k,i] in[k,j], added to what is there if `ADDS`; the diagonal once more.
template <bool ADDS, typename Entries>
__device__ __forceinline__ void product_in(const float* in, int depth, float scale, float* out, float* diagonal, const Smem& smem) {
    constexpr int ROWS = Entries::ROWS, COLUMNS = Entries::COLUMNS;
    const int cells = smem.cells, pitch = smem.pitch, across = smem.across, rows = ceil_div(cells, ROWS);
    for (int share = threadIdx.x; share < rows * across; share += THREADS) {
        int row[ROWS], column[COLUMNS];
        #pragma unroll
        for (int i = 0; i < ROWS; ++i) row[i] = min(share / across + i * rows, cells - 1);
        #pragma unroll
        for (int j = 0; j < COLUMNS; ++j) column[j] = min(share % across + j * across, cells - 1);
        float sums[ROWS][COLUMNS] = {};
        const float* line = in;
        #pragma unroll 2
        for (int k = 0; k < depth; ++k, line += pitch) {
            float a[ROWS], b[COLUMNS];
            #pragma unroll
            for (int i = 0; i < ROWS; ++i) a[i] = line[row[i]];
            #pragma unroll
            for (int j = 0; j < COLUMNS; ++j) b[j] = line[column[j]];
            #pragma unroll
            for (int i = 0; i < ROWS; ++i)
                #pragma unroll
                for (int j = 0; j < COLUMNS; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
        }
        #pragma unroll 1
        for (int turn = 0; turn < smem.turns; ++turn) {
            if ((share / across & (smem.turns - 1)) != turn) continue;
            #pragma unroll
            for (int i = 0; i < ROWS; ++i)
                #pragma unroll
                for (int j = 0; j < COLUMNS; ++j) {
                    const int y = share / across + i * rows, x = share % across + j * across;
                    if (y >= cells || x >= cells) continue;
                    float* const to = out + y * pitch + x;
                    const float sum = ADDS ? *to + scale * sums[i][j] : scale * sums[i][j];
                    *to = sum;
                    if (y == x) diagonal[y] = sum;
                }
        }
    }
}

template <bool ADDS>
__device__ __forceinline__ void product(const float* in, int depth, float scale, float* out, float* diagonal, const Smem& smem) {
    if (Small::COLUMNS * smem.across >= smem.cells) product_in<ADDS, Small>(in, depth, scale, out, diagonal, smem);
    else product_in<ADDS, Large>(in, depth, scale, out, diagonal, smem);
}

// Sum of the diagonal, the same in every thread.
__device__ __forceinline__ float trace(const float* diagonal, int cells) {
    float sum = 0.f;
    for (int i = threadIdx.x % 32; i < cells; i += 32) sum += diagonal[i];
    return warp_sum(sum);
}

// The first position of the largest entry, the same in every thread.
__device__ __forceinline__ int largest(const float* diagonal, int cells) {
    float best = -1.f;
    int at = 0;
    for (int i = threadIdx.x % 32; i < cells; i += 32)
        if (diagonal[i] > best) best = diagonal[i], at = i;
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, best, step);
        const int other_at = __shfl_xor_sync(0xffffffffu, at, step);
        if (other > best || (other == best && other_at < at)) best = other, at = other_at;
    }
    return at;
}

// The principal component of the matrix whose Gram matrix is matrix[0]: its entries at every cell, up to a factor that is not
// negative at the cell of the largest magnitude.
__device__ __forceinline__ const float* component(const Smem& smem, int cells) {
    int now = 0;
    float sum = trace(smem.diagonal(0), cells);
    for (int i = 0; i < MOST_SQUARINGS; ++i) {
        product<false>(smem.matrix(now), cells, 1.f / (sum * sum), smem.matrix(1 - now), smem.diagonal(1 - now), smem);
        now = 1 - now;
        __syncthreads(); // the square is there, and nobody reads what it was made of
        sum = trace(smem.diagonal(now), cells);
        if (sum > RANK_ONE) break;
    }
    return smem.matrix(now) + largest(smem.diagonal(now), cells) * smem.pitch;
}

template <typename T>
__device__ __forceinline__ void cam_eigen(const T* RESTRICT_ACTIVATION x, const Method* __restrict__ methods, float* rows,
                                          const CamEigenParams& params) {
    __shared__ float parts[WARPS];
    __shared__ double wide_parts[WARPS];
    const Smem smem(params);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int cells = params.cells, channels = params.c;
    const size_t n = blockIdx.y;
    x += n * cells * channels;
    int m = 0;
    for (int left = blockIdx.x % params.eigens; m < params.methods - 1; ++m)
        if ((methods[m].form == EIGEN || methods[m].form == EIGEN_GRADIENT) && left-- == 0) break;
    const bool is_weighted = methods[m].form == EIGEN_GRADIENT;
    const size_t target = n * params.targets + blockIdx.x / params.eigens;
    float* const row = rows + (target * params.methods + m) * (channels + ROW_END);
    // Each thread has channels of its own wherever channels are summed over cells.
    const auto centred = [&](int cell, int c) { return to_f32(x[(size_t)cell * channels + c]) - smem.means[c]; };

    float most = 0.f; // the largest magnitude of a weight
    for (int c = threadIdx.x; c < channels; c += THREADS) {
        double sum = 0.;
        #pragma unroll 8
        for (int i = 0; i < cells; ++i) sum += to_f32(x[(size_t)i * channels + c]);
        smem.means[c] = (float)(sum / cells);
        smem.weights[c] = is_weighted ? row[c] : 1.f;
        most = max_nan(most, fabsf(smem.weights[c]));
    }
    most = block_reduce<WARPS>(warp_max(most), parts, max_nan);
    float scale = 0.f; // the largest magnitude of an entry, weights being at most 1
    for (int c = threadIdx.x; c < channels; c += THREADS) {
        smem.weights[c] = most == 0.f ? 0.f : smem.weights[c] / most;
        #pragma unroll 8
        for (int i = 0; i < cells; ++i) scale = max_nan(scale, fabsf(smem.weights[c] * centred(i, c)));
    }
    scale = block_reduce<WARPS>(warp_max(scale), parts, max_nan);
    if (scale == 0.f || !(scale < infinity())) { // whole blocks leave
        const float fill = scale == 0.f ? 0.f : nan_f32();
        for (int c = threadIdx.x; c < channels; c += THREADS) row[c] = fill;
        if (threadIdx.x == 0) row[channels] = fill;
        return;
    }
    const auto entry = [&](int cell, int c) { return smem.weights[c] * centred(cell, c) / scale; };

    for (int first = 0; first < channels; first += DEPTH) {
        float* const staged = smem.matrix(1);
        for (int k = lane; k < DEPTH; k += 32)
            #pragma unroll 4
            for (int i = warp; i < cells; i += WARPS) staged[k * smem.pitch + i] = first + k < channels ? entry(i, first + k) : 0.f;
        __syncthreads(); // the part is there
        if (first == 0) product<false>(staged, DEPTH, 1.f, smem.matrix(0), smem.diagonal(0), smem);
        else product<true>(staged, DEPTH, 1.f, smem.matrix(0), smem.diagonal(0), smem);
        __syncthreads(); // the part has been added
    }
    const float* const u = component(smem, cells);

    float square = 0.f, covariance = 0.f;
    for (int c = threadIdx.x; c < channels; c += THREADS) {
        float v = 0.f;
        #pragma unroll 8
        for (int i = 0; i < cells; ++i) v = fmaf(entry(i, c), u[i], v);
        smem.weights[c] = v;
        square = fmaf(v, v, square);
        covariance += is_weighted ? v : row[c] * v; // of a gradient's row the weight is in v already
    }
    const Sum sum;
    square = block_reduce<WARPS>(warp_sum(square), parts, sum);
    covariance = block_reduce<WARPS>(warp_sum(covariance), parts, sum);
    const float factor = (covariance < 0.f ? -1.f : 1.f) / sqrtf(square);
    double offset = 0.;
    for (int c = threadIdx.x; c < channels; c += THREADS) {
        const float weight = factor * smem.weights[c] * (is_weighted ? row[c] : 1.f);
        row[c] = weight;
        offset += (double)weight * smem.means[c];
    }
    offset = block_reduce<WARPS>(warp_sum(offset), wide_parts, sum);
    if (threadIdx.x == 0) row[channels] = (float)offset;
}

#define CAM_EIGEN(NAME, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
        NAME(const T* RESTRICT_ACTIVATION x, const Method* __restrict__ methods, float* rows, const CamEigenParams params, const Step step) { \
        begin_step(step);                                                                                               \
        cam_eigen<T>(x, methods, rows, params);                                                                         \
    }

// ELEMENT comes from the table of variants: one unit per type of x.
#if ELEMENT == 0
CAM_EIGEN(cam_eigen_f32, float)
#elif ELEMENT == 1
CAM_EIGEN(cam_eigen_f16, f16)
#else
CAM_EIGEN(cam_eigen_bf16, bf16)
#endif
