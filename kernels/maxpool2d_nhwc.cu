// 2-D max pooling.
//   y[n,p,q,c] = max_{r,s} x[n, p*stride-pad+r, q*stride-pad+s, c]
//   x f32, f16 or bf16 NHWC   y the same type, NPQC
//   C % VEC == 0 (8 for f16 and bf16, 4 for f32), pointers 16-byte aligned
//   grid (ceil(Q * C/VEC / THREADS), P, N)   block (THREADS, 1, 1)   no shared memory
//   positions on the border never win; a NaN in a window wins; a window wholly on the border gives -inf
//   byte floor: x once, y once. Overlapping windows read x from L1 and L2 again
#include "elements.cuh"

struct MaxPool2dParams {
    int h, w, c;
    int p, q;
    int r, s;
    int stride, pad;
};
static_assert(sizeof(MaxPool2dParams) == 36, "the host's twin has 36 bytes");

template <typename T, int VEC>
__device__ __forceinline__ void maxpool2d(const T* RESTRICT_ACTIVATION x, T* __restrict__ y, const MaxPool2dParams& params) {
    const int chunks = params.c / VEC;
    const unsigned at = blockIdx.x * THREADS + threadIdx.x; // in a row of the output, which has less than 2^31 elements
    if (at >= (unsigned)params.q * chunks) return;
    const int iq = at / chunks, chunk = at % chunks;
    const int ip = blockIdx.y;
    const size_t n = blockIdx.z;

    // The part of the window that lies in the image.
    const int h0 = ip * params.stride - params.pad, w0 = iq * params.stride - params.pad;
    const int h_end = min(h0 + params.r, params.h), w_end = min(w0 + params.s, params.w);

    Pack<T, VEC> largest = Pack<T, VEC>::lowest();
    for (int ih = max(h0, 0); ih < h_end; ++ih) {
        const T* row = x + (n * params.h + ih) * params.w * params.c + chunk * VEC;
        for (int iw = max(w0, 0); iw < w_end; ++iw) largest.take_max(Pack<T, VEC>::load(row + (size_t)iw * params.c));
    }
    largest.store(y + ((n * params.p + ip) * params.q + iq) * params.c + chunk * VEC);
}

#define MAXPOOL2D(NAME, T, VEC)                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        NAME(const T* RESTRICT_ACTIVATION x, T* __restrict__ y, const MaxPool2dParams params, const Step step) { \
        begin_step(step);                                                                                    \
        maxpool2d<T, VEC>(x, y, params);                                                                     \
    }

MAXPOOL2D(maxpool2d_f32_nhwc, float, 4)
MAXPOOL2D(maxpool2d_f16_nhwc, f16, 8)
#if __CUDA_ARCH__ >= 800
MAXPOOL2D(maxpool2d_bf16_nhwc, bf16, 8)
#endif
