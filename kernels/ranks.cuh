// The order of logits.
#pragma once
#include "elements.cuh"

// Unsigned integers in the total order of the floats.
__device__ __forceinline__ unsigned order_key(float v) {
    const unsigned bits = __float_as_uint(v);
    return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}
