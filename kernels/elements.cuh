// Activations as packs of VEC neighbouring channels, read and written in one access each, and sums over a warp.
#pragma once
#include "common.cuh"

__device__ inline float infinity() { return __int_as_float(0x7f800000); }
__device__ inline float nan_f32() { return __int_as_float(0x7fc00000); }

// The larger of two, or NaN if one is NaN: a NaN is never dropped. (fmaxf drops it.)
__device__ __forceinline__ float max_nan(float a, float b) { return b > a || b != b ? b : a; }
__device__ __forceinline__ float min_nan(float a, float b) { return b < a || b != b ? b : a; }

// Sum over the warp in every lane, always in the same order.
__device__ __forceinline__ float warp_sum(float v) {
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) v = max_nan(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}
__device__ __forceinline__ float warp_min(float v) {
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) v = min_nan(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

template <typename T, int VEC> struct Pack;

// One access of 16 bytes; the address is 16-byte aligned.
template <> struct Pack<float, 4> {
    float4 v;
    static __device__ __forceinline__ Pack load(const float* at) { return {load_activation(reinterpret_cast<const float4*>(at))}; }
    static __device__ __forceinline__ Pack lowest() { return {{-infinity(), -infinity(), -infinity(), -infinity()}}; }
    __device__ __forceinline__ void store(float* at) const { *reinterpret_cast<float4*>(at) = v; }
    __device__ __forceinline__ float get(int i) const { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
    __device__ __forceinline__ void take_max(const Pack& o) {
        v = {max_nan(v.x, o.v.x), max_nan(v.y, o.v.y), max_nan(v.z, o.v.z), max_nan(v.w, o.v.w)};
    }
};

// Two f16 in one register; the first has the lower bits.
__device__ __forceinline__ unsigned max_nan_pair(unsigned a, unsigned b) {
#if __CUDA_ARCH__ >= 800
    return ptx::max_nan_f16x2(a, b);
#else
    unsigned out = 0;
    #pragma unroll
    for (int shift = 0; shift < 32; shift += 16) {
        const unsigned short p = (unsigned short)(a >> shift), q = (unsigned short)(b >> shift);
        const float fp = ptx::f32_from_f16(p), fq = ptx::f32_from_f16(q);
        out |= (unsigned)(fq > fp || fq != fq ? q : p) << shift;
    }
    return out;
#endif
}

constexpr unsigned F16_LOWEST_PAIR = 0xfc00fc00u; // -inf, -inf
constexpr unsigned BF16_LOWEST_PAIR = 0xff80ff80u;

// One access of 16 bytes; the address is 16-byte aligned.
template <> struct Pack<f16, 8> {
    uint4 v;
    static __device__ __forceinline__ Pack load(const f16* at) { return {load_activation(reinterpret_cast<const uint4*>(at))}; }
    static __device__ __forceinline__ Pack lowest() {
        return {{F16_LOWEST_PAIR, F16_LOWEST_PAIR, F16_LOWEST_PAIR, F16_LOWEST_PAIR}};
    }
    __device__ __forceinline__ void store(f16* at) const { *reinterpret_cast<uint4*>(at) = v; }
    __device__ __forceinline__ float get(int i) const {
        const unsigned pair = i < 2 ? v.x : i < 4 ? v.y : i < 6 ? v.z : v.w;
        return ptx::f32_from_f16((unsigned short)(pair >> (16 * (i % 2))));
    }
    __device__ __forceinline__ void take_max(const Pack& o) {
        v = {max_nan_pair(v.x, o.v.x), max_nan_pair(v.y, o.v.y), max_nan_pair(v.z, o.v.z), max_nan_pair(v.w, o.v.w)};
    }
};

#if __CUDA_ARCH__ >= 800
// One access of 16 bytes; the address is 16-byte aligned.
template <> struct Pack<bf16, 8> {
    uint4 v;
    static __device__ __forceinline__ Pack load(const bf16* at) { return {load_activation(reinterpret_cast<const uint4*>(at))}; }
    static __device__ __forceinline__ Pack lowest() {
        return {{BF16_LOWEST_PAIR, BF16_LOWEST_PAIR, BF16_LOWEST_PAIR, BF16_LOWEST_PAIR}};
    }
    __device__ __forceinline__ void store(bf16* at) const { *reinterpret_cast<uint4*>(at) = v; }
    __device__ __forceinline__ float get(int i) const {
        const unsigned pair = i < 2 ? v.x : i < 4 ? v.y : i < 6 ? v.z : v.w;
        return ptx::f32_from_bf16((unsigned short)(pair >> (16 * (i % 2))));
    }
    __device__ __forceinline__ void take_max(const Pack& o) {
        v = {ptx::max_nan_bf16x2(v.x, o.v.x), ptx::max_nan_bf16x2(v.y, o.v.y), ptx::max_nan_bf16x2(v.z, o.v.z),
             ptx::max_nan_bf16x2(v.w, o.v.w)};
    }
};
#endif
