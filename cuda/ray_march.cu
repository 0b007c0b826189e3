// Ray marching on the GPU: one thread per ray, 1-D blocks of 128. Specialised on CONE (0 or 1: does the step grow).
// Buffers as in ray_march.h. Products are rounded on their own, so both kernels, however the compiler arranges them,
// and the CPU test the same points.
#include "ray_thread.cuh"

using namespace neural;

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
