// Batch norm at inference as a step of its own, for networks that are not folded.
//   y[i] = epi( x[i] * scale[i % C] + shift[i % C] ),  epi: none, ReLU, or + residual[i] then ReLU
//   x, residual, y f32, f16 or bf16 [..., C]   scale, shift f32 [C]   y may be x
//   pointers 16-byte aligned (f16 and bf16: 8), C % VECTOR == 0, `count` elements, at most 2^31
//   grid (any, 1, 1)   block (256, 1, 1)   arithmetic in f32
#include "common.cuh"

// VECTOR comes from the table of variants (src/cuda/variants.rs).
constexpr int THREADS = 256;

template <typename T, bool RELU>
__device__ void batch_norm(const T* x, const float* scale, const float* shift, const T* residual, T* y, unsigned count, unsigned c) {
    for (size_t i = thread_index() * VECTOR; i < count; i += thread_count() * VECTOR) {
        const unsigned channel = (unsigned)i % c;
        float v[VECTOR], a[VECTOR], b[VECTOR], r[VECTOR] = {};
        Vector<VECTOR, T>::load(x + i, v);
        Vector<VECTOR, float>::load(scale + channel, a);
        Vector<VECTOR, float>::load(shift + channel, b);
        if (residual) Vector<VECTOR, T>::load(residual + i, r);
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) {
            v[j] = v[j] * a[j] + b[j] + r[j];
            if (RELU) v[j] = relu(v[j]);
        }
        Vector<VECTOR, T>::store(y + i, v);
    }
}

#define NAMED_(type, epilogue, v) batch_norm_##type##_nhwc_v##v##_##epilogue
#define NAMED(type, epilogue, v) NAMED_(type, epilogue, v)
#define ENTRY(type, epilogue) extern "C" __global__ void __launch_bounds__(THREADS) NAMED(type, epilogue, VECTOR)
#define ENTRIES(type, T)                                                                                                     \
    ENTRY(type, none)(const T* x, const float* scale, const float* shift, T* y, unsigned count, unsigned c, const Step step) { \
        begin_step(step);                                                                                                    \
        batch_norm<T, false>(x, scale, shift, nullptr, y, count, c);                                                         \
    }                                                                                                                        \
    ENTRY(type, relu)(const T* x, const float* scale, const float* shift, T* y, unsigned count, unsigned c, const Step step) { \
        begin_step(step);                                                                                                    \
        batch_norm<T, true>(x, scale, shift, nullptr, y, count, c);                                                          \
    }                                                                                                                        \
    ENTRY(type, residual_relu)                                                                                               \
    (const T* x, const float* scale, const float* shift, const T* residual, T* y, unsigned count, unsigned c,                \
     const Step step) {                                                                                                      \
        begin_step(step);                                                                                                    \
        batch_norm<T, true>(x, scale, shift, residual, y, count, c);                                                         \
    }

ENTRIES(f32, float)
ENTRIES(f16, f16)
#if __CUDA_ARCH__ >= 800
ENTRIES(bf16, bf16)
#endif
