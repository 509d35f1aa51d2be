// Types and small functions that every kernel uses. Kernels include nothing but the headers of this folder, so that NVRTC
// needs no CUDA include path.
#pragma once

#include "ptx.cuh"

// Half precision in memory: 16 bits, no arithmetic. Kernels compute in f32.
struct alignas(2) f16 {
    unsigned short bits;
};
static_assert(sizeof(f16) == 2, "arrays of f16 are packed");

// Eight halves: what a 16-byte access moves.
struct alignas(16) f16x8 {
    unsigned pair[4];
};
static_assert(sizeof(f16x8) == 16, "one 16-byte access");

__device__ inline float to_f32(float v) { return v; }
__device__ inline float to_f32(f16 v) { return ptx::f32_from_f16(v.bits); }

// Rounds to nearest, ties to even, like the host's conversion.
template <typename T>
__device__ T from_f32(float v);
template <>
__device__ inline float from_f32<float>(float v) { return v; }
template <>
__device__ inline f16 from_f32<f16>(float v) { return f16{ptx::f16_from_f32(v)}; }

__device__ inline void unpack(const f16x8& from, float (&to)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        to[2 * i] = ptx::f32_from_f16((unsigned short)(from.pair[i] & 0xffffu));
        to[2 * i + 1] = ptx::f32_from_f16((unsigned short)(from.pair[i] >> 16));
    }
}

__device__ inline f16x8 pack(const float (&from)[8]) {
    f16x8 to;
#pragma unroll
    for (int i = 0; i < 4; ++i) to.pair[i] = ptx::f16x2_from_f32(from[2 * i], from[2 * i + 1]);
    return to;
}

// NaN stays NaN; fmaxf would turn it into 0 and hide the fault.
__device__ inline float relu(float v) { return v < 0.f ? 0.f : v; }

// First element of this thread and step of the grid, for loops over `count` elements.
__device__ inline size_t thread_index() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline size_t thread_count() { return (size_t)gridDim.x * blockDim.x; }

constexpr __host__ __device__ int ceil_div(int a, int b) { return (a + b - 1) / b; }
