// Ray marching on the GPU: one thread per ray, 1-D blocks of 128. Specialised on CONE (0 or 1: does the step grow).
// Buffers as in ray_march.h. Products are rounded on their own, so both kernels, however the compiler arranges them,
// and the CPU test the same points.
#include "ray_march.cuh"

using namespace neural;

namespace {

struct Thread {
    using Float = float;
    using Int = int;
    static __device__ __forceinline__ float splat(float v) { return v; }
    static __device__ __forceinline__ int splat_int(int v) { return v; }
    static __device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
    static __device__ __forceinline__ int to_int(float v) { return int(v); }
    static __device__ __forceinline__ float to_float(int v) { return float(v); }
    static __device__ __forceinline__ int as_int(float v) { return __float_as_int(v); }
    static __device__ __forceinline__ float as_float(int v) { return __int_as_float(v); }
    static __device__ __forceinline__ float exp(float v) { return expf(v); }
    static __device__ __forceinline__ float log(float v) { return logf(v); }
    const u64* words;

    __device__ __forceinline__ void block(const march::Grid& grid, int level, const int (&cell)[3], int& size,
                                          int& occupied) const {
        const u32 code = morton::encode(u32(cell[0]), u32(cell[1]), u32(cell[2]));
        const i64 cascade = i64(grid.resolution) * grid.resolution * grid.resolution / 64;
        const u64 word = words[level * cascade + (code >> 6)];
        const u32 bit = code & 63u;
        const u64 byte = (word >> (bit & 56u)) & 255u;
        size = word + 1u < 2u ? 4 : (((byte + 1u) & 254u) == 0u ? 2 : 1);
        occupied = int((word >> bit) & 1u);
    }
};

__device__ __forceinline__ float enter(const march::Grid& grid, const float* origin, i64 ok, const float* direction,
                                       i64 dk, float jitter, float t_min, float t_max, march::Ray<Thread>& ray) {
    const float o[3] = {origin[0], origin[ok], origin[2 * ok]};
    const float d[3] = {direction[0], direction[dk], direction[2 * dk]};
    return march::enter<Thread, CONE>(grid, o, d, jitter, t_min, t_max, ray);
}

} // namespace

extern "C" __global__ void ray_march_count(const float* origins, i64 on, i64 ok, const float* directions, i64 dn, i64 dk,
                                           const float* t_min, const float* t_max, const float* jitter, i64 n,
                                           const float* settings, i64 n_cascades, i64 resolution, const u8* bitfield,
                                           i64* packed_info, float* spans) {
    const i64 r = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (r >= n) return;
    const march::Grid grid{settings, int(n_cascades), int(resolution)};
    const Thread machine{reinterpret_cast<const u64*>(bitfield)};
    march::Ray<Thread> ray;
    float k = enter(grid, origins + r * on, ok, directions + r * dn, dk, jitter ? jitter[r] : 0.0f, t_min[r], t_max[r], ray);
    float from = 0.0f, to = 0.0f, next;
    i64 total = 0;
    int filled;
    while (march::visit<Thread, CONE>(grid, machine, ray, k, next, filled)) {
        if (filled) {
            from = total ? from : k;
            to = next;
            total += i64(next - k);
        }
        k = next;
    }
    packed_info[2 * r] = 0;
    packed_info[2 * r + 1] = total;
    spans[r] = from;
    spans[n + r] = to;
}

extern "C" __global__ void ray_march_write(const float* origins, i64 on, i64 ok, const float* directions, i64 dn, i64 dk,
                                           const float* t_min, const float* t_max, const float* jitter, i64 n,
                                           const float* settings, i64 n_cascades, i64 resolution, const u8* bitfield,
                                           const float* spans, const i64* packed_info, float* t_starts, float* t_ends,
                                           i64* ray_indices) {
    const i64 r = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (r >= n) return;
    i64 at = packed_info[2 * r];
    const i64 stop = at + packed_info[2 * r + 1];
    if (at == stop) return;
    const march::Grid grid{settings, int(n_cascades), int(resolution)};
    const Thread machine{reinterpret_cast<const u64*>(bitfield)};
    march::Ray<Thread> ray;
    enter(grid, origins + r * on, ok, directions + r * dn, dk, jitter ? jitter[r] : 0.0f, t_min[r], t_max[r], ray);
    float k = spans[r], next;
    int filled;
    while (at < stop && march::visit<Thread, CONE>(grid, machine, ray, k, next, filled)) {
        if (filled)
            for (float i = k; i < next && at < stop; i += 1.0f, ++at) {
                t_starts[at] = march::depth<Thread, CONE>(settings, i + ray.jitter);
                t_ends[at] = march::depth<Thread, CONE>(settings, i + ray.jitter + 1.0f);
                ray_indices[at] = r;
            }
        k = next;
    }
}
