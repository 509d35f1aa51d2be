// Inline PTX, one wrapper per instruction. This file is also the list of special instructions that a software device must know.
// Fragment layouts: `lane` is the thread's index in its warp, g = lane / 4 (0..7), t = lane % 4 (0..3).
#pragma once

namespace ptx {

// `v` itself, by no instruction. The compiler takes it for another value, and so does not move what is computed from it out of a loop.
__device__ inline int opaque(int v) {
    asm volatile("" : "+r"(v));
    return v;
}

// ---- conversions -------------------------------------------------------------------------------------------------------

__device__ inline float f32_from_f16(unsigned short bits) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
}

// Round to nearest even.
__device__ inline unsigned short f16_from_f32(float v) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
}

// Two halves in one register; `low` lies at the lower address.
__device__ inline unsigned f16x2_from_f32(float low, float high) {
#if __CUDA_ARCH__ >= 800
    unsigned pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low)); // the first source is the upper half
    return pair;
#else
    return (unsigned)f16_from_f32(low) | (unsigned)f16_from_f32(high) << 16;
#endif
}

// The halves of a register, lower address first.
__device__ inline void f32x2_from_f16x2(unsigned pair, float& low, float& high) {
    low = f32_from_f16((unsigned short)(pair & 0xffffu));
    high = f32_from_f16((unsigned short)(pair >> 16));
}

// bf16 is the upper half of an f32.
__device__ inline float f32_from_bf16(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }

#if __CUDA_ARCH__ >= 800
// As f16x2_from_f32, for bf16: round to nearest even.
__device__ inline unsigned bf16x2_from_f32(float low, float high) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low)); // the first source is the upper half
    return pair;
}
#endif

// ---- arithmetic --------------------------------------------------------------------------------------------------------

#if __CUDA_ARCH__ >= 800
// The larger of two, for each half; NaN if one of them is NaN.
__device__ inline unsigned max_nan_f16x2(unsigned a, unsigned b) {
    unsigned larger;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
    return larger;
}

__device__ inline unsigned max_nan_bf16x2(unsigned a, unsigned b) {
    unsigned larger;
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
    return larger;
}
#endif

// ---- shared memory -----------------------------------------------------------------------------------------------------

// Address inside the block's shared memory, which cp.async and ldmatrix take.
__device__ inline unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// Four 8x8 matrices of f16. Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes each, 16-byte aligned).
// Register m of lane l receives from matrix m, row g, the columns 2t and 2t + 1:
//
//              columns 0 1   2 3   4 5   6 7
//      row 0          L0    L1    L2    L3
//      row 1          L4    L5    L6    L7
//      ...
//      row 7          L28   L29   L30   L31
__device__ inline void ldmatrix_x4(unsigned (&d)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

// The first two of them alone, by the addresses of lanes 0 to 15; those of the others are of no account from capability 8.0 on.
__device__ inline void ldmatrix_x2(unsigned (&d)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(d[0]), "=r"(d[1]) : "r"(address) : "memory");
}

#if __CUDA_ARCH__ >= 800
// Starts copying 16 bytes from global to shared memory past the registers and L1. With `valid` false nothing is read and the
// 16 bytes become zero; `from` must still be a global address.
__device__ inline void cp_async_16(unsigned to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

// The same for the first `bytes` of 16, at most all of them; the others become zero.
__device__ inline void cp_async_16_first(unsigned to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}

// Closes the group of copies that this thread started since the last call; groups may be empty.
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `Pending` of this thread's newest groups are unfinished. Other threads see the data after a barrier.
template <int Pending>
__device__ inline void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}
#endif

// ---- between kernels ---------------------------------------------------------------------------------------------------

// Returns when the kernels that the launch depends on have ended and their writes are seen. At once where the launch was an
// ordinary one, which begins after that anyway, as all do before capability 9.0.
__device__ inline void grid_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may begin as soon as every block of this one has said so or ended.
__device__ inline void grid_launch_dependents() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Asks for `bytes` bytes to be brought to L2; `from` is 16-byte aligned, `bytes` a multiple of 16. Nothing before capability 9.0.
__device__ inline void prefetch_l2(const void* from, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)), "r"(bytes) : "memory");
#endif
}

// A store that the host sees, too.
__device__ inline void store_system(unsigned* at, unsigned value) {
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(at)), "r"(value) : "memory");
}

// ---- tensor cores ------------------------------------------------------------------------------------------------------

// d[16x8] += a[16xK] * b[Kx8], f16 inputs, f32 sums. Accumulator: d0 d1 = row g, columns 2t 2t+1; d2 d3 = row g + 8.
//
// K = 8:   a0 = row g, columns 2t 2t+1;  a1 = row g + 8;          b0 = rows 2t 2t+1 of column g
// K = 16:  a0 a1 as above;  a2 a3 = the same rows, columns + 8;   b0 as above;  b1 = rows + 8
//
// so that one K = 16 is two K = 8, on (a0 a1, b0) and (a2 a3, b1).
#if __CUDA_ARCH__ >= 800
__device__ inline void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same, bf16 inputs.
__device__ inline void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same, f16 inputs and sums: d = c + a * b. d[0] = row g, columns 2t 2t+1; d[1] = row g + 8.
__device__ inline void mma_m16n8k16_f16(unsigned (&d)[2], const unsigned (&a)[4], unsigned b0, unsigned b1, unsigned c0, unsigned c1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%8, %9};"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c0), "r"(c1));
}
#endif

__device__ inline void mma_m16n8k8(float (&d)[4], unsigned a0, unsigned a1, unsigned b0) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(b0));
}

__device__ inline void mma_m16n8k8_f16(unsigned (&d)[2], unsigned a0, unsigned a1, unsigned b0, unsigned c0, unsigned c1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3}, {%4}, {%5, %6};"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(a0), "r"(a1), "r"(b0), "r"(c0), "r"(c1));
}

} // namespace ptx
