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

// Epilogues turn the sums of V neighbouring output channels, k to k + V - 1, into the values to store; `at` is the first
// one's index in y. V elements are read at once, so k and `at` are multiples of V.
struct None {
    template <int V>
    __device__ void operator()(float (&)[V], int, size_t) const {}
};

struct Bias {
    const float* bias; // [k]
    template <int V>
    __device__ void operator()(float (&v)[V], int k, size_t) const {
        float b[V];
        Vector<V, float>::load(bias + k, b);
#pragma unroll
        for (int i = 0; i < V; ++i) v[i] += b[i];
    }
};

struct BiasRelu {
    Bias bias;
    template <int V>
    __device__ void operator()(float (&v)[V], int k, size_t at) const {
        bias(v, k, at);
#pragma unroll
        for (int i = 0; i < V; ++i) v[i] = relu(v[i]);
    }
};

// The end of a residual block. T is the element type of y.
template <typename T>
struct BiasResidualRelu {
    Bias bias;
    const T* residual; // [n, p, q, k]
    template <int V>
    __device__ void operator()(float (&v)[V], int k, size_t at) const {
        float r[V];
        Vector<V, T>::load(residual + at, r);
        bias(v, k, at);
#pragma unroll
        for (int i = 0; i < V; ++i) v[i] = relu(v[i] + r[i]);
    }
};

// Names of entries carry the tile: NAMED(conv, 64, 32, 16, bias) is conv_64x32x16_bias.
#define NAMED_(stem, bm, bn, bk, epilogue) stem##_##bm##x##bn##x##bk##_##epilogue
#define NAMED(stem, bm, bn, bk, epilogue) NAMED_(stem, bm, bn, bk, epilogue)
