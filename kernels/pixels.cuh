// Pixels of a network's input, and values between two others.
#pragma once
#include "common.cuh"

// As the CPU mixes: two products and a sum, each rounded. A fused multiply-add would round once less.
__device__ __forceinline__ float mix(float weight, float low, float high) {
    return __fadd_rn(__fmul_rn(1.f - weight, low), __fmul_rn(weight, high));
}

// A pixel in a tensor of CHANNELS channels, those past the third 0: 16 bytes at once, of four halves 8; of three each by itself.
template <typename T, int CHANNELS> struct Pixel;

template <typename T> struct Pixel<T, 3> {
    static __device__ __forceinline__ void store(T* y, float r, float g, float b) {
        y[0] = from_f32<T>(r);
        y[1] = from_f32<T>(g);
        y[2] = from_f32<T>(b);
    }
};
template <> struct Pixel<float, 4> {
    static __device__ __forceinline__ void store(float* y, float r, float g, float b) { *(float4*)y = make_float4(r, g, b, 0.f); }
};
template <> struct Pixel<f16, 4> {
    static __device__ __forceinline__ void store(f16* y, float r, float g, float b) {
        *(uint2*)y = make_uint2(ptx::f16x2_from_f32(r, g), ptx::f16x2_from_f32(b, 0.f));
    }
};
template <> struct Pixel<f16, 8> {
    static __device__ __forceinline__ void store(f16* y, float r, float g, float b) {
        *(uint4*)y = make_uint4(ptx::f16x2_from_f32(r, g), ptx::f16x2_from_f32(b, 0.f), 0u, 0u);
    }
};
#if __CUDA_ARCH__ >= 800
template <> struct Pixel<bf16, 8> {
    static __device__ __forceinline__ void store(bf16* y, float r, float g, float b) {
        *(uint4*)y = make_uint4(ptx::bf16x2_from_f32(r, g), ptx::bf16x2_from_f32(b, 0.f), 0u, 0u);
    }
};
#endif
