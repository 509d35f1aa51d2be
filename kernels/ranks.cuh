// The order of logits.
#pragma once
#include "elements.cuh"

// Unsigned integers in the total order of the floats.
__device__ __forceinline__ unsigned order_key(float v) {
    const unsigned bits = __float_as_uint(v);
    return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

constexpr int HELD_KEYS = 4096; // in shared memory; those of more classes are read again for every bit

// Places in the order of falling logit and rising class: all different, the first is the largest.
__device__ __forceinline__ unsigned long long place_of(unsigned key, int c) {
    return (unsigned long long)key << 32 | ~(unsigned)c;
}

// The class of rank `rank` < `classes`, the same in every thread. `keys` is shared memory for min(classes, HELD_KEYS) of them,
// which nobody needs after it. Bit by bit, the greatest bound that more than `rank` classes
// reach; usually a dozen bits tell them from the rest, and then the last that reaches it is the one.
template <int BLOCK_WARPS>
__device__ __forceinline__ int class_of_rank(const float* RESTRICT_ACTIVATION logits, int classes, int rank, unsigned* keys) {
    constexpr int BLOCK_THREADS = BLOCK_WARPS * 32;
    struct Parts {
        int counts[2][BLOCK_WARPS]; // by turns: one barrier a bit
        unsigned long long lasts[BLOCK_WARPS];
    };
    __shared__ Parts parts;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < min(classes, HELD_KEYS); i += BLOCK_THREADS) keys[i] = order_key(logits[i]);
    __syncthreads(); // the keys are there
    const auto place = [&](int c) { return place_of(c < HELD_KEYS ? keys[c] : order_key(logits[c]), c); };

    unsigned long long bound = 0;
    for (int bit = 63; bit >= 0; --bit) {
        const unsigned long long higher = bound | 1ull << bit;
        int count = 0; // of the warp
        for (int first = 0; first < classes; first += BLOCK_THREADS) {
            const int c = first + threadIdx.x;
            count += __popc(__ballot_sync(0xffffffffu, c < classes && place(c) >= higher));
        }
        if (lane == 0) parts.counts[bit % 2][warp] = count;
        __syncthreads(); // every warp's count is there; those of the bit before are read
        count = 0;
        #pragma unroll
        for (int i = 0; i < BLOCK_WARPS; ++i) count += parts.counts[bit % 2][i];
        if (count > rank) bound = higher;
        if (count == rank + 1) break;
    }
    unsigned long long last = ~0ull;
    for (int c = threadIdx.x; c < classes; c += BLOCK_THREADS) {
        const unsigned long long mine = place(c);
        if (mine >= bound) last = min(last, mine);
    }
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) last = min(last, __shfl_xor_sync(0xffffffffu, last, step));
    if (lane == 0) parts.lasts[warp] = last;
    __syncthreads(); // every warp's last is there, and nobody needs the keys any more
    #pragma unroll
    for (int i = 0; i < BLOCK_WARPS; ++i) last = min(last, parts.lasts[i]);
    return (int)~(unsigned)last;
}
