// Types and small functions that every kernel uses. Kernels include nothing but the headers of this folder, so that NVRTC
// needs no CUDA include path.
#pragma once

#include "ptx.cuh"

// Which step of a pass a launch is; the twin of `Step` in src/cuda/queue.rs, which appends it to every kernel's parameters.
struct Step {
    unsigned* mark; // a word of the host's memory, or null
    unsigned number;
};
static_assert(sizeof(Step) == 16, "the host's twin has 16 bytes");

// Every kernel has a last parameter `const Step step` and calls this once, with all its threads.
//
// From capability 9.0 on a kernel of a graph begins while the one before it still runs. Before this call it may do what needs
// nothing of that one: compute addresses and masks, read or prefetch parameters of the network, which no kernel writes. After it
// come all reads of what kernels write, and all writes: memory of the arena is used again and again, so that even a place that
// nobody needs any more may still be read by the kernel before. As every kernel waits, all earlier ones have ended with that one.
//
// The mark tells the host which kernel was at work when the device faulted. It is set after the wait, so that it never names a
// kernel whose predecessor still runs, and by one thread that does not wait for the store. First the block is asked for, which is
// a branch for all threads at once, then the thread: in one condition it costs the main loop of 256x64x32 a register and 2 % of its cycles on 8.0.
__device__ inline void begin_step(const Step& step) {
    ptx::grid_wait();
    if (step.mark && (blockIdx.x | blockIdx.y | blockIdx.z) == 0) {
        if ((threadIdx.x | threadIdx.y) == 0) ptx::store_system(step.mark, step.number);
    }
    ptx::grid_launch_dependents(); // not before the wait: one kernel ahead is enough, and the next one's blocks take room
}

// `__restrict__` and `__ldg` for what an earlier kernel wrote. The read-only path asks that nobody writes there while the kernel
// runs, and where kernels begin early, the one before still does.
#if __CUDA_ARCH__ >= 900
#define RESTRICT_ACTIVATION
#else
#define RESTRICT_ACTIVATION __restrict__
#endif
template <typename T>
__device__ __forceinline__ T load_activation(const T* at) {
#if __CUDA_ARCH__ >= 900
    return *at;
#else
    return __ldg(at);
#endif
}

// Half precision in memory: 16 bits, no arithmetic. Kernels compute in f32.
struct alignas(2) f16 {
    unsigned short bits;
};
static_assert(sizeof(f16) == 2, "arrays of f16 are packed");

// The upper half of an f32, in memory; devices of capability 8.0 up.
struct alignas(2) bf16 {
    unsigned short bits;
};
static_assert(sizeof(bf16) == 2, "arrays of bf16 are packed");

__device__ inline float to_f32(float v) { return v; }
__device__ inline float to_f32(f16 v) { return ptx::f32_from_f16(v.bits); }
__device__ inline float to_f32(bf16 v) { return ptx::f32_from_bf16(v.bits); }

// Rounds to nearest, ties to even, like the host's conversion.
template <typename T>
__device__ T from_f32(float v);
template <>
__device__ inline float from_f32<float>(float v) { return v; }
template <>
__device__ inline f16 from_f32<f16>(float v) { return f16{ptx::f16_from_f32(v)}; }
#if __CUDA_ARCH__ >= 800
template <>
__device__ inline bf16 from_f32<bf16>(float v) { return bf16{(unsigned short)ptx::bf16x2_from_f32(v, 0.f)}; }
#endif

// Reads or writes V neighbouring elements as f32, with one access of V * sizeof(T) bytes (two for eight floats), to which
// `p` is aligned.
template <int V, typename T>
struct Vector;
template <>
struct Vector<4, float> {
    static __device__ void load(const float* p, float (&v)[4]) {
        const float4 x = *(const float4*)p;
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    }
    static __device__ void store(float* p, const float (&v)[4]) { *(float4*)p = make_float4(v[0], v[1], v[2], v[3]); }
};
template <>
struct Vector<8, float> {
    static __device__ void load(const float* p, float (&v)[8]) {
        const float4 x = *(const float4*)p, y = *(const float4*)(p + 4);
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
        v[4] = y.x, v[5] = y.y, v[6] = y.z, v[7] = y.w;
    }
    static __device__ void store(float* p, const float (&v)[8]) {
        *(float4*)p = make_float4(v[0], v[1], v[2], v[3]);
        *(float4*)(p + 4) = make_float4(v[4], v[5], v[6], v[7]);
    }
};
template <>
struct Vector<4, f16> {
    static __device__ void load(const f16* p, float (&v)[4]) {
        const uint2 x = *(const uint2*)p;
        ptx::f32x2_from_f16x2(x.x, v[0], v[1]);
        ptx::f32x2_from_f16x2(x.y, v[2], v[3]);
    }
    static __device__ void store(f16* p, const float (&v)[4]) {
        *(uint2*)p = make_uint2(ptx::f16x2_from_f32(v[0], v[1]), ptx::f16x2_from_f32(v[2], v[3]));
    }
};
template <>
struct Vector<8, f16> {
    static __device__ void load(const f16* p, float (&v)[8]) {
        const uint4 x = *(const uint4*)p;
        ptx::f32x2_from_f16x2(x.x, v[0], v[1]);
        ptx::f32x2_from_f16x2(x.y, v[2], v[3]);
        ptx::f32x2_from_f16x2(x.z, v[4], v[5]);
        ptx::f32x2_from_f16x2(x.w, v[6], v[7]);
    }
    static __device__ void store(f16* p, const float (&v)[8]) {
        *(uint4*)p = make_uint4(ptx::f16x2_from_f32(v[0], v[1]), ptx::f16x2_from_f32(v[2], v[3]),
                                ptx::f16x2_from_f32(v[4], v[5]), ptx::f16x2_from_f32(v[6], v[7]));
    }
};

#if __CUDA_ARCH__ >= 800
template <>
struct Vector<4, bf16> {
    static __device__ void load(const bf16* p, float (&v)[4]) {
        const uint2 x = *(const uint2*)p;
        v[0] = ptx::f32_from_bf16((unsigned short)x.x), v[1] = ptx::f32_from_bf16((unsigned short)(x.x >> 16));
        v[2] = ptx::f32_from_bf16((unsigned short)x.y), v[3] = ptx::f32_from_bf16((unsigned short)(x.y >> 16));
    }
    static __device__ void store(bf16* p, const float (&v)[4]) {
        *(uint2*)p = make_uint2(ptx::bf16x2_from_f32(v[0], v[1]), ptx::bf16x2_from_f32(v[2], v[3]));
    }
};
template <>
struct Vector<8, bf16> {
    static __device__ void load(const bf16* p, float (&v)[8]) {
        const uint4 x = *(const uint4*)p;
        const unsigned pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            v[2 * i] = ptx::f32_from_bf16((unsigned short)pairs[i]);
            v[2 * i + 1] = ptx::f32_from_bf16((unsigned short)(pairs[i] >> 16));
        }
    }
    static __device__ void store(bf16* p, const float (&v)[8]) {
        *(uint4*)p = make_uint4(ptx::bf16x2_from_f32(v[0], v[1]), ptx::bf16x2_from_f32(v[2], v[3]),
                                ptx::bf16x2_from_f32(v[4], v[5]), ptx::bf16x2_from_f32(v[6], v[7]));
    }
};
#endif

// NaN stays NaN; fmaxf would turn it into 0 and hide the fault.
__device__ inline float relu(float v) { return v < 0.f ? 0.f : v; }

// First element of this thread and step of the grid, for loops over `count` elements.
__device__ inline size_t thread_index() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline size_t thread_count() { return (size_t)gridDim.x * blockDim.x; }

constexpr __host__ __device__ int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Calls `visit(part, slot)` for every slot and each of its PARTS, by the STEP threads of a block. A warp has all parts of 32 / PARTS
// neighbouring slots, so that it moves whole sectors where those lie side by side in memory, and neighbouring lanes have neighbouring
// slots of one part.
template <int PARTS, int STEP, typename Visit>
__device__ __forceinline__ void for_each_part(int slots, Visit&& visit) {
    constexpr int LANES = 32 / PARTS; // of a part
    for (int i = threadIdx.x; i < ceil_div(slots, LANES) * 32; i += STEP) {
        const int slot = i / 32 * LANES + i % LANES;
        if (slot < slots) visit(i % 32 / LANES, slot);
    }
}

// Asks for part `part` of `parts` of the `count` elements at `from`, in whole 16 bytes, as ptx::prefetch_l2.
template <typename T>
__device__ inline void prefetch_part(const T* from, unsigned count, unsigned part, unsigned parts) {
    constexpr unsigned EACH = 16 / sizeof(T);
    const unsigned chunks = count / EACH, most = (chunks + parts - 1) / parts, begin = part * most;
    if (begin < chunks) ptx::prefetch_l2(from + (size_t)begin * EACH, min(most, chunks - begin) * 16);
}
