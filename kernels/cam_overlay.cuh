// Overlays as outputs of cam_upsample.cu, which includes this behind what it shares with its maps: by whole quads of pixels, or where
// rows are not made of them by runs. Either goes through shared memory, so that warps move neighbouring words of the pictures.
#pragma once

struct OverlayOut {
    unsigned char* out;
    const unsigned char* crop; // read-only: it is there before the graph begins
    const unsigned char* table;
    float alpha;
    static constexpr int WORDS = QUAD * 3 / 4; // of a quad: odd, so that the lanes' quads are free of bank conflicts
    static constexpr int RUN_WORDS = 32 * WORDS + 1; // of a run, which may begin and end within a word
    const unsigned* colors;    // [256][32]: every lane reads a bank of its own, whatever its entry
    unsigned* staged;          // [2][RUN_WORDS], of the warp: where it reads pixels, and where it draws runs

    __device__ void start(const CamUpsampleParams& params, size_t map, size_t image) {
        __shared__ unsigned copies[256 * 32];
        __shared__ unsigned pixels[WARPS][2][RUN_WORDS];
        static_assert(THREADS == 256, "one entry for each thread");
        unsigned *const words = pixels[0][0], *const packed = words + 256;
        if (threadIdx.x < 192) words[threadIdx.x] = __ldg(reinterpret_cast<const unsigned*>(table) + threadIdx.x);
        __syncthreads(); // the table is there
        const unsigned char* color = reinterpret_cast<const unsigned char*>(words) + threadIdx.x * 3;
        packed[threadIdx.x] = color[0] | color[1] << 8 | color[2] << 16;
        __syncthreads(); // one read for three channels, by whole warps
        for (int i = threadIdx.x; i < 256 * 32; i += THREADS) copies[i] = packed[i / 32];
        colors = copies + threadIdx.x % 32;
        staged = pixels[threadIdx.x / 32][0];
        alpha = params.alpha;
        out += map * 3, crop += image * 3;
    }

    __device__ __forceinline__ unsigned color(float v) const { return colors[entry(v) * 32]; }

    __device__ __forceinline__ unsigned blend(unsigned base, unsigned color) const {
        const float sum = __fadd_rn(__fmul_rn((float)base, 1.f - alpha), __fmul_rn((float)color, alpha));
        return (unsigned)__float2int_rz(__fadd_rn(sum, 0.5f)); // at most 255.5, never negative
    }
};

// Overlays by whole quads.
struct OverlayQuadsOut : OverlayOut {
    static __device__ int shift(const CamUpsampleParams&) { return 0; }

    // Calls `visit(word, place)` for the words of the warp's quads in their order, each lane every 32nd, so that neighbouring lanes
    // have neighbouring words of memory, and the same ones each time: between storing words and staging the next there is no barrier.
    // `offset` is the place of this lane's own quad in words, `is_full` whether it has one.
    template <typename Visit>
    static __device__ __forceinline__ void for_each_word(int offset, bool is_full, Visit&& visit) {
        const int lane = threadIdx.x % 32;
        const unsigned full = __ballot_sync(0xffffffffu, is_full);
        #pragma unroll
        for (int i = 0; i < WORDS; ++i) {
            const int word = i * 32 + lane, owner = word / WORDS;
            const int at = __shfl_sync(0xffffffffu, offset, owner) + word % WORDS;
            if (full >> owner & 1) visit(word, at);
        }
    }

    __device__ __forceinline__ void operator()(int pixel, const float (&v)[QUAD], int, int count) const {
        const int word_at = pixel / QUAD * WORDS;
        const bool is_full = count > 0;
        unsigned* const own = staged + threadIdx.x % 32 * WORDS;
        for_each_word(word_at, is_full, [&](int word, int place) { staged[word] = __ldg(reinterpret_cast<const unsigned*>(crop) + place); });
        __syncwarp(); // the crop's words are there
        unsigned wanted[QUAD];
        #pragma unroll
        for (int i = 0; i < QUAD; ++i) wanted[i] = color(v[i]);
        #pragma unroll
        for (int i = 0; i < WORDS; ++i) {
            const unsigned base = is_full ? own[i] : 0;
            unsigned blended = 0;
            #pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int byte = i * 4 + k; // of the quad
                blended |= blend(base >> (8 * k) & 255u, wanted[byte / 3] >> (8 * (byte % 3)) & 255u) << (8 * k);
            }
            own[i] = blended;
        }
        __syncwarp(); // the blended words are there
        for_each_word(word_at, is_full, [&](int word, int place) { reinterpret_cast<unsigned*>(out)[place] = staged[word]; });
    }
};

// Overlays by runs of pixels, of which each warp has one: a lane's lie a warp apart.
struct OverlayRunsOut : OverlayOut {
    static __device__ int shift(const CamUpsampleParams&) { return 5; } // pixels a warp apart

    // Calls `word(i)` for the whole words of the `length` bytes that begin `first` bytes after a word's beginning, `base`, and `byte(i)` for
    // what is left at either end, both counted from there. A lane has every 32nd word, such that the first lane's begin a sector.
    template <typename Word, typename Byte>
    static __device__ __forceinline__ void for_each_piece(const unsigned char* base, int first, int length, Word&& word, Byte&& byte) {
        const int end = first + length;
        #pragma unroll 1
        for (int i = (int)(threadIdx.x % 32) - (int)((size_t)base / 4 % 8); i * 4 < end; i += 32) {
            if (i < 0) continue;
            const int low = max(i * 4, first), high = min(i * 4 + 4, end);
            if (high - low == 4) word(i);
            else
                #pragma unroll 1
                for (int b = low; b < high; ++b) byte(b);
        }
    }

    // The words at a run's ends may be shared with other warps and pictures. Crop and output may begin at different bytes of a word, so
    // that pixels are drawn in another place than they are read from; hence no barrier before the next run's are read.
    __device__ __forceinline__ void operator()(int pixel, const float (&v)[QUAD], int, int count) const {
        const int own = threadIdx.x % 32 * 3; // the place of this lane's first pixel in the run
        const int most = __shfl_sync(0xffffffffu, count, 0); // lanes further on have one less from somewhere on
        const int length = ((most - 1) * 32 + __popc(__ballot_sync(0xffffffffu, count == most))) * 3;
        const unsigned char* from = crop + (pixel * 3 - own);
        const int from_first = (int)((size_t)from % 4);
        from -= from_first;
        unsigned* const drawn = staged + RUN_WORDS;
        unsigned char* const bytes = reinterpret_cast<unsigned char*>(staged);
        unsigned char* const drawn_bytes = reinterpret_cast<unsigned char*>(drawn);
        for_each_piece(from, from_first, length,
            [&](int word) { staged[word] = __ldg(reinterpret_cast<const unsigned*>(from) + word); },
            [&](int byte) { bytes[byte] = __ldg(from + byte); });
        __syncwarp(); // the crop's pixels are there
        unsigned char* to = out + (pixel * 3 - own);
        const int to_first = (int)((size_t)to % 4);
        to -= to_first;
        #pragma unroll
        for (int i = 0; i < QUAD; ++i) {
            if (i >= count) break;
            const unsigned wanted = color(v[i]);
            #pragma unroll
            for (int c = 0; c < 3; ++c) {
                const int byte = own + i * 96 + c;
                drawn_bytes[to_first + byte] = (unsigned char)blend(bytes[from_first + byte], wanted >> (8 * c) & 255u);
            }
        }
        __syncwarp(); // the blended pixels are there
        for_each_piece(to, to_first, length,
            [&](int word) { reinterpret_cast<unsigned*>(to)[word] = drawn[word]; },
            [&](int byte) { to[byte] = drawn_bytes[byte]; });
    }
};
