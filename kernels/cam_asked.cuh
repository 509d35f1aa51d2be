// What is asked for, and the row of weights that every target and method becomes.
#pragma once
#include "ranks.cuh"

// One class of a target.
struct Term {
    double factor;
    int cls;
    int unused;
};
static_assert(sizeof(Term) == 16, "the host's twin has 16 bytes");

enum Score { LOGIT = 0, PROBABILITY = 1, REST = 2 };

struct Target {
    int first, count; // of the terms
    int score;
    int unused;
};
static_assert(sizeof(Target) == 16, "the host's twin has 16 bytes");

// Formulas; several methods share one where the gradient is the same at every position.
enum Form {
    CAM = 0,
    GRADIENT = 1,
    WEIGHTED_MEAN = 2, // XGrad-CAM as the libraries compute it
    PLUS_PLUS = 3,
    POSITIVE = 4,
    ABLATION = 5,
    EIGEN = 6,
    EIGEN_GRADIENT = 7,
    FINER = 8,
    SHAPLEY = 9,
    FEM = 10,
    RANDOM = 11,
};

struct Method {
    int form;
    int normalisation;
};
static_assert(sizeof(Method) == 8, "the host's twin has 8 bytes");

// A row: the weights of C channels, then a RowEnd; the next one begins 16-byte aligned.
struct alignas(16) RowEnd {
    float offset; // taken off every cell
    int normalisation;
    int unused[2];
};
constexpr int ROW_END = 4; // words
static_assert(sizeof(RowEnd) == ROW_END * 4, "the row of the next map is aligned");

// Sum over the warp in every lane, always in the same order.
__device__ __forceinline__ double warp_sum(double v) {
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

struct Sum {
    template <typename V>
    __device__ __forceinline__ V operator()(V a, V b) const { return a + b; }
};

// `v` of every warp combined, the same in every thread; `parts` has one place for each warp and may be used again at once.
template <int BLOCK_WARPS, typename V, typename Combine>
__device__ __forceinline__ V block_reduce(V v, V* parts, Combine&& combine) {
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads(); // every warp's part is there
    v = parts[0];
    #pragma unroll
    for (int i = 1; i < BLOCK_WARPS; ++i) v = combine(v, parts[i]);
    __syncthreads(); // all have read the parts
    return v;
}
