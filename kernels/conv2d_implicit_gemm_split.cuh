// Several blocks that share the depth of one tile (split-K): gridDim.z of them, each with its part of gemm_k.
//
// Every block leaves its sums in memory; the last one to arrive adds them up, in the order of the parts whatever the order of
// arrival, so that results are the same bit for bit, and goes on with the epilogue. Sums lie in the order of the threads'
// registers: whole lines, and nothing to rearrange. The places of those that a warp does not hand on (see Area) are never touched.
#pragma once

// Null where gridDim.z is 1.
struct Workspace {
    float4* partials;   // [tiles][gridDim.z][MMA_M*MMA_N][THREADS]
    unsigned* counters; // [tiles], zero before the launch and after it
};

// Adds up the parts of this block's tile. False in all blocks but the last, which are done.
__device__ bool combine(Sums& sums, const Workspace& workspace) {
    __shared__ unsigned earlier; // blocks of this tile that arrived before
    constexpr int PART = MMA_M * MMA_N * THREADS;
    const unsigned tile = blockIdx.y * gridDim.x + blockIdx.x;
    float4* const parts = workspace.partials + (size_t)tile * gridDim.z * PART + threadIdx.x;
    float4* const mine = parts + (size_t)blockIdx.z * PART;
    const Area area;
#pragma unroll
    for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
        for (int j = 0; j < MMA_N; ++j) {
            if (!area.has(i * 16, j * 8)) continue;
            const float(&v)[4] = sums.v[i][j];
            mine[(i * MMA_N + j) * THREADS] = make_float4(v[0], v[1], v[2], v[3]);
        }
    }
    __syncthreads(); // every thread's sums are written
    if (threadIdx.x == 0) {
        __threadfence(); // the count tells other blocks of all of them
        earlier = atomicInc(workspace.counters + tile, gridDim.z - 1); // the last one makes it zero again
        __threadfence(); // what it told of is read after it
    }
    __syncthreads(); // the count is there
    if (earlier + 1 != gridDim.z) return false;

#pragma unroll
    for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
        for (int j = 0; j < MMA_N; ++j) {
#pragma unroll
            for (int v = 0; v < 4; ++v) sums.v[i][j][v] = 0.f;
        }
    }
    for (unsigned z = 0; z < gridDim.z; ++z) {
#pragma unroll
        for (int i = 0; i < MMA_M; ++i) {
#pragma unroll
            for (int j = 0; j < MMA_N; ++j) {
                if (!area.has(i * 16, j * 8)) continue;
                const float4 part = parts[(size_t)z * PART + (i * MMA_N + j) * THREADS];
                float(&v)[4] = sums.v[i][j];
                v[0] += part.x, v[1] += part.y, v[2] += part.z, v[3] += part.w;
            }
        }
    }
    return true;
}
