// Softmax over all classes and the k most likely of them.
//   probability[n,j] = exp(x[n,c] - max x[n]) / sum_i exp(x[n,i] - max x[n])   for the class c = index[n,j] of rank j < k
//   x f32 [N, K] logits   index i32 [N, k]   probability f32 [N, k]
//   grid (ceil(K / CLASSES), N, 1)   block (THREADS, 1, 1)   smem 9.5 KiB
//   ranks by falling logit, equal ones by rising class, in the total order of IEEE 754 (a positive NaN comes first, -0 after +0):
//   the rank of a class is the number of classes before it, so that each is counted apart and none waits for another
//   f32; one NaN or +inf among the logits makes every probability NaN, as the definition does
//   byte floor: x once, index and probability once. x is read by all ceil(K/CLASSES) blocks of an image, from L2
#include "ranks.cuh"

struct SoftmaxTopkParams {
    int classes; // K
    int k;
};
static_assert(sizeof(SoftmaxTopkParams) == 8, "the host's twin has 8 bytes");

constexpr int CLASSES = 32;         // of one block: one for each lane
constexpr int THREADS = WARPS * 32; // each warp compares the block's classes with its share of all
constexpr int TILE = 2048;          // keys in shared memory at a time
static_assert(TILE % (WARPS * 4) == 0, "every warp reads whole groups of four keys");

struct Smem {
    unsigned keys[TILE];
    unsigned counts[WARPS][CLASSES];
    float partial[WARPS];
};

// Largest logit and sum of exponentials, the same in every thread.
__device__ __forceinline__ float2 softmax_terms(const float* RESTRICT_ACTIVATION x, int classes, Smem& smem) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float largest = -infinity();
    for (int i = threadIdx.x; i < classes; i += THREADS) largest = max_nan(largest, x[i]);
    largest = warp_max(largest);
    if (lane == 0) smem.partial[warp] = largest;
    __syncthreads(); // every warp's part is there
    #pragma unroll
    for (int i = 0; i < WARPS; ++i) largest = max_nan(largest, smem.partial[i]);
    __syncthreads(); // all have read the parts before they are written again

    float sum = 0.f;
    for (int i = threadIdx.x; i < classes; i += THREADS) sum += expf(x[i] - largest);
    sum = warp_sum(sum);
    if (lane == 0) smem.partial[warp] = sum;
    __syncthreads(); // every warp's part is there
    sum = 0.f;
    #pragma unroll
    for (int i = 0; i < WARPS; ++i) sum += smem.partial[i];
    return make_float2(largest, sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_topk_f32(const float* RESTRICT_ACTIVATION x, int* __restrict__ index, float* __restrict__ probability,
                     const SoftmaxTopkParams params, const Step step) {
    __shared__ Smem smem;
    begin_step(step);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const size_t n = blockIdx.y;
    x += n * params.classes;

    const int c = blockIdx.x * CLASSES + lane;
    const float logit = c < params.classes ? x[c] : 0.f;
    const unsigned key = order_key(logit);
    unsigned before = 0;
    for (int first = 0; first < params.classes; first += TILE) {
        __syncthreads(); // all have compared with the last tile
        for (int i = threadIdx.x; i < TILE; i += THREADS)
            // What fills up the tile counts for nobody: no key is less, and its index is past every class.
            smem.keys[i] = first + i < params.classes ? order_key(x[first + i]) : 0;
        __syncthreads(); // the tile is there
        const int share = ceil_div(min(TILE, params.classes - first), WARPS * 4) * 4;
        // All lanes read the same four keys: one wavefront.
        for (int i = warp * share; i < (warp + 1) * share; i += 4) {
            const uint4 four = *reinterpret_cast<const uint4*>(&smem.keys[i]);
            const unsigned others[4] = {four.x, four.y, four.z, four.w};
            const int other = first + i;
            #pragma unroll
            for (int j = 0; j < 4; ++j) // without a branch
                before += (unsigned)(others[j] > key) | ((unsigned)(others[j] == key) & (unsigned)(other + j < c));
        }
    }
    smem.counts[warp][lane] = before;
    const float2 terms = softmax_terms(x, params.classes, smem); // its barriers publish the counts, too

    if (warp == 0 && c < params.classes) {
        unsigned rank = 0;
        #pragma unroll
        for (int i = 0; i < WARPS; ++i) rank += smem.counts[i][lane];
        if (rank < (unsigned)params.k) {
            index[n * params.k + rank] = c;
            probability[n * params.k + rank] = expf(logit - terms.x) / terms.y;
        }
    }
}
