// c[m,n] = sum_k a[m,k] b[n,k]; a, b f16 with k innermost, c f32. m, n multiples of 64, k of 32. 128 threads, two stages.
typedef unsigned int u32;
typedef unsigned short u16;

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void copy16(void* to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}

extern "C" __global__ void __launch_bounds__(128) gemm_f16(const u16* a, const u16* b, float* c, int m, int n, int k) {
    __shared__ __align__(16) u16 as[2][64][40]; // 40: rows start in different banks
    __shared__ __align__(16) u16 bs[2][64][40];
    int t = threadIdx.x, lane = t & 31, warp = t >> 5;
    int m0 = blockIdx.y * 64, n0 = blockIdx.x * 64, wm = warp >> 1 << 5, wn = (warp & 1) << 5;
    float acc[2][4][4] = {};
    auto load = [&](int stage, int k0) {
        for (int i = 0; i < 2; ++i) {
            int row = (t + 128 * i) >> 2, col = (t & 3) * 8;
            copy16(&as[stage][row][col], a + (size_t)(m0 + row) * k + k0 + col, 16);
            copy16(&bs[stage][row][col], b + (size_t)(n0 + row) * k + k0 + col, 16);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    load(0, 0);
    for (int k0 = 0, s = 0; k0 < k; k0 += 32, s ^= 1) {
        if (k0 + 32 < k) load(s ^ 1, k0 + 32);
        else asm volatile("cp.async.commit_group;" ::: "memory");
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        for (int kk = 0; kk < 32; kk += 16) {
            u32 af[2][4], bf[4][2];
            for (int i = 0; i < 2; ++i)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                    : "=r"(af[i][0]), "=r"(af[i][1]), "=r"(af[i][2]), "=r"(af[i][3])
                    : "r"(shared_address(&as[s][wm + 16 * i + (lane & 15)][kk + (lane >> 4) * 8])));
            for (int j = 0; j < 4; ++j)
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                    : "=r"(bf[j][0]), "=r"(bf[j][1])
                    : "r"(shared_address(&bs[s][wn + 8 * j + (lane & 7)][kk + ((lane >> 3) & 1) * 8])));
            for (int i = 0; i < 2; ++i) for (int j = 0; j < 4; ++j)
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                    : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
                    : "r"(af[i][0]), "r"(af[i][1]), "r"(af[i][2]), "r"(af[i][3]), "r"(bf[j][0]), "r"(bf[j][1]));
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; ++i) for (int j = 0; j < 4; ++j) {
        int row = m0 + wm + 16 * i + lane / 4, col = n0 + wn + 8 * j + lane % 4 * 2;
        *reinterpret_cast<float2*>(&c[(size_t)row * n + col]) = make_float2(acc[i][j][0], acc[i][j][1]);
        *reinterpret_cast<float2*>(&c[(size_t)(row + 8) * n + col]) = make_float2(acc[i][j][2], acc[i][j][3]);
    }
}
