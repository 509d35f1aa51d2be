// What the convolutions share: sizes by value and epilogues.
#pragma once

#include "common.cuh"

// Sizes of one convolution; the twin of `Conv2dParams` in src/cuda/conv2d.rs. Element counts of x, w and y are below 2^31.
struct Conv2dParams {
    int n, h, w, c; // x [n, h, w, c]
    int k, r, s;    // filter [k, r, s, c]
    int stride, pad;
    int p, q;       // y [n, p, q, k]
    int gemm_m;     // n * p * q
    int gemm_k;     // r * s * c
};
static_assert(sizeof(Conv2dParams) == 52, "as the host fills it");

// Epilogues: (accumulator, output channel, index in y) -> value to store. A null-free set of pointers per struct; T is the
// element type of y and of the residual, which has y's shape.
struct None {
    __device__ float operator()(float acc, int, size_t) const { return acc; }
};
struct Bias {
    const float* bias; // [k]
    __device__ float operator()(float acc, int k, size_t) const { return acc + bias[k]; }
};
struct BiasRelu {
    const float* bias;
    __device__ float operator()(float acc, int k, size_t) const { return relu(acc + bias[k]); }
};
template <typename T>
struct BiasResidualRelu {
    const float* bias;
    const T* residual; // [n, p, q, k]
    __device__ float operator()(float acc, int k, size_t i) const { return relu(acc + bias[k] + to_f32(residual[i])); }
};
