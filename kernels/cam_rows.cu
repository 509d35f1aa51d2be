// Weights of the channels for every target and method, so that each map is one weighted sum.
//   row[n,t,m,c], see docs/methods.md for the formulas of the methods; r[c] = sum_k v[k] w[k,c] with v the target's derivative by
//   the logits, in three parts: entries of the target's own classes, the softmax p, and p' = p (d - sum p d) with d = y - bias
//   x f32, f16 or bf16 NHWC features   w the same type [K, C]   bias f32 [K]   mean f32 [N, C] of the features   logits f32 [N, K]
//   terms, targets [T], methods [M] as in cam_asked.cuh: what is asked, the same for every image
//   where `index` is not null, target t is the class of rank t of each image, as cam_upsample.cu ranks, written to index i32 [N, T]
//   rows f32 [N, T, M, C + ROW_END], 16-byte aligned   C % 4 == 0
//   A class that is not below K reads no weights: its rows are NaN.
//   grid (ceil(C/CHANNELS), T, N)   block (THREADS, 1, 1)   smem 8 KiB + 4*min(K, HELD_KEYS) bytes where classes are ranked
//   f64 in a fixed order, as the CPU computes it: near a probability of 1 the derivative is a difference of almost equal sums. Of
//   a logit that is a few operations for each channel; of a softmax 2*K*C of them, and for Ablation-CAM K*C exponentials, for each
//   target. Finer-CAM ranks K distances. FEM's order of operations is the CPU's, so that the same positions count.
//   byte floor of a block: its channels of w (of the target's classes alone for a logit), logits once, its weights once
#include "cam_asked.cuh"

struct CamRowsParams {
    int cells, c;
    int classes; // K
    int targets; // T
    int methods; // M
    int wanted;  // bit f: some method has form f
    int library; // whose formulas
};
static_assert(sizeof(CamRowsParams) == 28, "the host's twin has 28 bytes");

enum Library { PAPERS = 0, TORCHCAM = 1, GRAD_CAM = 2 };

constexpr int THREADS = WARPS * 32;
constexpr int CHANNELS = 32;      // of a block: one for each lane
constexpr int REFERENCES = 3;     // of Finer-CAM
constexpr double STRENGTH = 0.6;  // of Finer-CAM
constexpr double DEVIATIONS = 2.; // of FEM

extern __shared__ unsigned dynamic_keys[];

struct Smem {
    double probabilities[THREADS], slopes[THREADS]; // of a tile of classes
    double sums[2][WARPS][CHANNELS];
    double parts[WARPS];
    float largest[WARPS];
    unsigned long long places[WARPS];
};

// What the classes of an image amount to.
struct Softmax {
    double largest, total, log_total, drift; // drift: sum p d

    __device__ __forceinline__ double probability(double logit) const { return exp(logit - largest) / total; }
    __device__ __forceinline__ double slope(double logit, double bias) const { return probability(logit) * (logit - bias - drift); }
};

__device__ __forceinline__ Softmax softmax_of(const float* RESTRICT_ACTIVATION y, const float* __restrict__ bias, int classes, Smem& smem) {
    const Sum sum;
    float largest = -infinity();
    for (int k = threadIdx.x; k < classes; k += THREADS) largest = max_nan(largest, y[k]);
    largest = block_reduce<WARPS>(warp_max(largest), smem.largest, max_nan);
    double total = 0., drift = 0.;
    for (int k = threadIdx.x; k < classes; k += THREADS) {
        const double e = exp((double)y[k] - largest);
        total += e;
        drift += e * ((double)y[k] - bias[k]);
    }
    total = block_reduce<WARPS>(warp_sum(total), smem.parts, sum);
    drift = block_reduce<WARPS>(warp_sum(drift), smem.parts, sum);
    return {largest, total, largest + log(total), drift / total};
}

// sum_k p[k] w[k,c] and sum_k p'[k] w[k,c] of this lane's channel, in every warp.
struct Mixtures {
    double softmax, slope;
};

template <typename T>
__device__ __forceinline__ Mixtures mixtures(const T* __restrict__ w, const float* RESTRICT_ACTIVATION y, const float* __restrict__ bias,
                                             const Softmax& softmax, int c, const CamRowsParams& params, Smem& smem) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Mixtures mine{};
    for (int first = 0; first < params.classes; first += THREADS) {
        const int k = first + threadIdx.x;
        __syncthreads(); // all have used the tile before
        smem.probabilities[threadIdx.x] = k < params.classes ? softmax.probability(y[k]) : 0.;
        smem.slopes[threadIdx.x] = k < params.classes ? softmax.slope(y[k], bias[k]) : 0.;
        __syncthreads(); // the tile is there
        const int count = min(THREADS, params.classes - first);
        #pragma unroll 4
        for (int i = warp; i < count; i += WARPS) {
            const double weight = to_f32(w[(size_t)(first + i) * params.c + c]);
            mine.softmax += smem.probabilities[i] * weight;
            mine.slope += smem.slopes[i] * weight;
        }
    }
    smem.sums[0][warp][lane] = mine.softmax;
    smem.sums[1][warp][lane] = mine.slope;
    __syncthreads(); // every warp's part is there
    mine = {};
    #pragma unroll
    for (int i = 0; i < WARPS; ++i) {
        mine.softmax += smem.sums[0][i][lane];
        mine.slope += smem.sums[1][i][lane];
    }
    __syncthreads(); // all have read the parts
    return mine;
}

// ln sum_k exp(y[k] - w[k,c] mean) of this lane's channel, in every warp, from the largest term down.
template <typename T>
__device__ __forceinline__ double log_total_without(const T* __restrict__ w, const float* RESTRICT_ACTIVATION y, double mean, int c,
                                                    const CamRowsParams& params, Smem& smem) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const auto logit = [&](int k) { return (double)y[k] - to_f32(w[(size_t)k * params.c + c]) * mean; };
    double largest = -infinity(), total = 0.;
    for (int k = warp; k < params.classes; k += WARPS) largest = fmax(largest, logit(k));
    for (int k = warp; k < params.classes; k += WARPS) total += exp(logit(k) - largest);
    smem.sums[0][warp][lane] = largest;
    smem.sums[1][warp][lane] = total;
    __syncthreads(); // every warp's part is there
    largest = -infinity(), total = 0.;
    #pragma unroll
    for (int i = 0; i < WARPS; ++i) largest = fmax(largest, smem.sums[0][i][lane]);
    for (int i = 0; i < WARPS; ++i) // a warp without a class has the total 0
        if (i < params.classes) total += smem.sums[1][i][lane] * exp(smem.sums[0][i][lane] - largest);
    return largest + log(total);
}

// The classes whose logits are nearest to that of `cls`, equal ones by index; -1 where there are no more. The same in every
// thread. Distances are not negative, so that their bits are in their order.
__device__ __forceinline__ void nearest(const float* RESTRICT_ACTIVATION y, int classes, int cls, int (&found)[REFERENCES], Smem& smem) {
    unsigned long long last_distance = 0;
    int last = -1;
    #pragma unroll
    for (int r = 0; r < REFERENCES; ++r) {
        unsigned long long best_distance = ~0ull, best = ~0ull;
        for (int k = threadIdx.x; k < classes; k += THREADS) {
            const unsigned long long distance = __double_as_longlong(fabs((double)y[k] - y[cls]));
            const bool is_later = distance > last_distance || (distance == last_distance && k > last);
            if (k != cls && is_later && distance < best_distance) best_distance = distance, best = k;
        }
        const auto smallest = [](unsigned long long a, unsigned long long b) { return min(a, b); };
        const auto of_warp = [](unsigned long long v) {
            #pragma unroll
            for (int step = 16; step > 0; step /= 2) v = min(v, __shfl_xor_sync(0xffffffffu, v, step));
            return v;
        };
        last_distance = block_reduce<WARPS>(of_warp(best_distance), smem.places, smallest);
        if (best_distance != last_distance) best = ~0ull;
        best = block_reduce<WARPS>(of_warp(best), smem.places, smallest);
        found[r] = last = (int)best;
        if (last < 0) last_distance = ~0ull; // nor is there a later one
    }
}

// Weights of a class; NaN of one that is not there.
template <typename T>
__device__ __forceinline__ double weight_of(const T* __restrict__ w, int cls, int c, const CamRowsParams& params) {
    return (unsigned)cls < (unsigned)params.classes ? to_f32(w[(size_t)cls * params.c + c]) : nan_f32();
}

// Finer-CAM's derivative by the mean of the channel.
template <typename T>
__device__ __forceinline__ double finer(const T* __restrict__ w, const float* RESTRICT_ACTIVATION y, int cls, const int (&references)[REFERENCES],
                                        const Softmax& softmax, const Mixtures& mixed, int c, const CamRowsParams& params) {
    const double own = weight_of(w, cls, c, params);
    if ((unsigned)cls >= (unsigned)params.classes) return own;
    int count = 0;
    double others = 0.;
    #pragma unroll
    for (int r = 0; r < REFERENCES; ++r)
        if (references[r] >= 0) {
            others += weight_of(w, references[r], c, params);
            ++count;
        }
    if (params.library != GRAD_CAM) return own - STRENGTH / max(count, 1) * others;
    // The mean of d[k] = y[cls] - y[k], weighted by probabilities through which the gradient goes as well.
    double total = 0., value = 0.;
    #pragma unroll
    for (int r = 0; r < REFERENCES; ++r)
        if (references[r] >= 0) {
            const double p = softmax.probability(y[references[r]]);
            total += p;
            value += p * ((double)y[cls] - y[references[r]]);
        }
    const double divisor = total + 1e-9;
    value /= divisor;
    double sum = total / divisor * own;
    #pragma unroll
    for (int r = 0; r < REFERENCES; ++r)
        if (references[r] >= 0) {
            const double p = softmax.probability(y[references[r]]);
            const double through = p * ((double)y[cls] - y[references[r]] - value) / divisor;
            sum += (through - p / divisor) * weight_of(w, references[r], c, params) - through * mixed.softmax;
        }
    return sum;
}

// The share of positions above the channel's mean + 2 standard deviations. No operations are fused: the CPU's are not.
template <typename T>
__device__ __forceinline__ double fem(const T* RESTRICT_ACTIVATION x, int c, const CamRowsParams& params) {
    double sum = 0., squares = 0.;
    #pragma unroll 8
    for (int i = 0; i < params.cells; ++i) sum += to_f32(x[(size_t)i * params.c + c]);
    const double mean = sum / params.cells;
    #pragma unroll 8
    for (int i = 0; i < params.cells; ++i) {
        const double difference = to_f32(x[(size_t)i * params.c + c]) - mean;
        squares = __dadd_rn(squares, __dmul_rn(difference, difference));
    }
    const double bound = mean + DEVIATIONS * sqrt(squares / params.cells);
    int above = 0;
    #pragma unroll 8
    for (int i = 0; i < params.cells; ++i) above += to_f32(x[(size_t)i * params.c + c]) > bound;
    return (double)above / params.cells;
}

// Number `c` of splitmix64 (Steele et al., OOPSLA 2014) from 0 on, in -1..1.
__device__ __forceinline__ double random_weight(int c) {
    unsigned long long z = (unsigned long long)(c + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992. * 2. - 1.;
}

__device__ __forceinline__ double plus_plus(double r, double mean, const CamRowsParams& params) {
    if (!(r > 0.)) return r != r ? r : 0.;
    const double cells = params.cells, g = r / cells;
    switch (params.library) {
    case TORCHCAM: return cells * g * g * g;
    case GRAD_CAM: return cells * g * (g * g) / (2. * g * g + mean * cells * g * g * g + 1e-6);
    default: return r / (2. + mean * r);
    }
}

template <typename T>
__device__ __forceinline__ void cam_rows(const T* RESTRICT_ACTIVATION x, const T* __restrict__ w, const float* __restrict__ bias,
                                         const float* RESTRICT_ACTIVATION means, const float* RESTRICT_ACTIVATION logits,
                                         const Term* __restrict__ terms, const Target* __restrict__ targets,
                                         const Method* __restrict__ methods, int* __restrict__ index, float* __restrict__ rows,
                                         const CamRowsParams& params) {
    __shared__ Smem smem;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int t = blockIdx.y, channel = blockIdx.x * CHANNELS + lane, c = min(channel, params.c - 1);
    const size_t n = blockIdx.z;
    const float* const y = logits + n * params.classes;
    const Target target = targets[t];
    const bool is_ranked = index, is_logit = target.score == LOGIT;
    const auto wants = [&](int form) { return (params.wanted >> form & 1) != 0; };

    int chosen = 0;
    if (is_ranked) {
        chosen = class_of_rank<WARPS>(y, params.classes, t, dynamic_keys);
        if (blockIdx.x == 0 && threadIdx.x == 0) index[n * params.targets + t] = chosen;
    }
    const int count = is_ranked ? 1 : target.count;
    const auto term = [&](int i) { return is_ranked ? Term{1., chosen, 0} : terms[target.first + i]; };

    Softmax softmax{};
    Mixtures mixed{};
    if (!is_logit || (wants(FINER) && params.library == GRAD_CAM)) {
        softmax = softmax_of(y, bias, params.classes, smem);
        mixed = mixtures(w, y, bias, softmax, c, params, smem);
    }
    const double mean = means[n * params.c + c], cells = params.cells;
    double without = 0.;
    if (!is_logit && wants(ABLATION)) without = log_total_without(w, y, mean, c, params, smem);
    int references[REFERENCES] = {-1, -1, -1};
    const int first = term(0).cls;
    if (wants(FINER) && (unsigned)first < (unsigned)params.classes) nearest(y, params.classes, first, references, smem);

    // r: the derivative by the channel's mean. bend: its own derivative along the features.
    // whole: the target's value. rest: that without this channel.
    double r = 0., bend = 0., whole = 0., rest = 0.;
    for (int i = 0; i < count; ++i) {
        const auto [factor, cls, unused] = term(i);
        const double weight = weight_of(w, cls, c, params);
        const double logit = weight == weight ? y[cls] : weight;
        if (is_logit) {
            r += factor * weight;
            whole += factor * logit;
            continue;
        }
        const double less = logit - weight * mean;
        if (target.score == PROBABILITY) {
            const double p = softmax.probability(logit), slope = p * (logit - bias[weight == weight ? cls : 0] - softmax.drift);
            r += factor * p * (weight - mixed.softmax);
            bend += factor * (slope * (weight - mixed.softmax) - p * mixed.slope);
            whole += factor * exp(logit - softmax.log_total);
            rest += factor * exp(less - without);
        } else {
            r += factor * (2. * weight - mixed.softmax);
            bend -= factor * mixed.slope;
            whole += factor * (logit + (logit - softmax.log_total));
            rest += factor * (less + (less - without));
        }
    }
    const double g = r / cells;
    for (int m = warp; m < params.methods; m += WARPS) {
        const Method method = methods[m];
        double weight = nan_f32();
        switch (method.form) {
        case CAM:
        case EIGEN: weight = r; break;
        case GRADIENT:
        case EIGEN_GRADIENT: weight = g; break;
        case WEIGHTED_MEAN: weight = g * (mean * cells) / (mean * cells + (params.library == TORCHCAM ? 1e-8 : 1e-7)); break;
        case PLUS_PLUS: weight = plus_plus(r, mean, params); break;
        case POSITIVE: weight = g < 0. ? 0. : g; break;
        case ABLATION: weight = whole == 0. ? 0. : (is_logit ? r * mean : whole - rest) / whole; break;
        case FINER: weight = finer(w, y, first, references, softmax, mixed, c, params) / cells; break;
        case SHAPLEY: weight = (r - 0.5 * bend) / cells; break;
        case FEM: weight = fem(x + n * params.cells * params.c, c, params); break;
        case RANDOM: weight = random_weight(c); break;
        }
        float* const row = rows + ((n * params.targets + t) * params.methods + m) * (params.c + ROW_END);
        if (channel < params.c) row[channel] = (float)weight;
        if (blockIdx.x == 0 && lane == 0) *reinterpret_cast<RowEnd*>(row + params.c) = {0.f, method.normalisation, {0, 0}};
    }
}

#define CAM_ROWS(NAME, T)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
        NAME(const T* RESTRICT_ACTIVATION x, const T* __restrict__ w, const float* __restrict__ bias,                      \
             const float* RESTRICT_ACTIVATION means, const float* RESTRICT_ACTIVATION logits, const Term* __restrict__ terms, \
             const Target* __restrict__ targets, const Method* __restrict__ methods, int* __restrict__ index,              \
             float* __restrict__ rows, const CamRowsParams params, const Step step) {                                      \
        begin_step(step);                                                                                                  \
        cam_rows<T>(x, w, bias, means, logits, terms, targets, methods, index, rows, params);                              \
    }

// ELEMENT comes from the table of variants: one unit per type of x.
#if ELEMENT == 0
CAM_ROWS(cam_rows_f32, float)
#elif ELEMENT == 1
CAM_ROWS(cam_rows_f16, f16)
#else
CAM_ROWS(cam_rows_bf16, bf16)
#endif
