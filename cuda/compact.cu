// Compaction on the GPU; arrays as in compact.h.
// visible_mark: one warp per ray (32 threads per ray in 1-D blocks whose size is a multiple of 32).
// visible_fill: one thread per ray. compact_samples: one thread per kept sample.
// compact_gather, compact_scatter: x over kept samples, y over features; scatter adds nothing up and expects out zeroed.
#include "composite.cuh"

using namespace neural;

constexpr unsigned kAll = 0xffffffffu;

extern "C" __global__ void visible_mark(const float* densities, const float* t_starts, const float* t_ends,
                                        const i64* packed_info, i64 n_rays, float early_stop, float min_alpha,
                                        u8* mask, i64* compacted) {
    const i64 thread = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 ray = thread / 32;
    const int lane = int(thread % 32);
    if (ray >= n_rays) return; // whole warps
    const i64 start = packed_info[2 * ray], end = start + packed_info[2 * ray + 1];
    float passed = 1.0f;
    i64 marked = 0;
    for (i64 base = start; base < end; base += 32) {
        const i64 i = base + lane;
        bool seen = false;
        if (passed >= early_stop) { // the same in all lanes
            const float a = i < end ? composite::opacity(densities[i], t_ends[i] - t_starts[i],
                                                         [](float v) { return expm1f(v); })
                                    : 0.0f;
            float after = 1.0f - a;
            for (int step = 1; step < 32; step *= 2) {
                const float other = __shfl_up_sync(kAll, after, step);
                if (lane >= step) after *= other;
            }
            after *= passed;
            const float left = __shfl_up_sync(kAll, after, 1);
            seen = i < end && (lane > 0 ? left : passed) >= early_stop && a >= min_alpha;
            passed = __shfl_sync(kAll, after, 31);
        }
        if (i < end) mask[i] = seen;
        marked += seen;
    }
    int total = int(marked);
    for (int step = 16; step > 0; step /= 2) total += __shfl_down_sync(kAll, total, step);
    if (lane == 0) compacted[2 * ray + 1] = total;
}

extern "C" __global__ void visible_fill(const u8* mask, const i64* packed_info, const i64* compacted, i64 n_rays,
                                        i64* indices) {
    const i64 ray = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n_rays) return;
    i64 out = compacted[2 * ray];
    const i64 start = packed_info[2 * ray], end = start + packed_info[2 * ray + 1];
    for (i64 i = start; i < end; ++i)
        if (mask[i]) indices[out++] = i;
}

extern "C" __global__ void compact_samples(const i64* indices, i64 n_kept, const float* t_starts, const float* t_ends,
                                           const i64* ray_indices, float* t_starts_out, float* t_ends_out,
                                           i64* ray_indices_out) {
    const i64 m = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (m >= n_kept) return;
    const i64 i = indices[m];
    t_starts_out[m] = t_starts[i];
    t_ends_out[m] = t_ends[i];
    ray_indices_out[m] = ray_indices[i];
}

extern "C" __global__ void compact_gather(const i64* indices, i64 n_kept, const float* features, i64 stride_n,
                                          i64 stride_k, float* out, i64 out_n, i64 out_k) {
    const i64 m = i64(blockIdx.x) * blockDim.x + threadIdx.x, k = blockIdx.y;
    if (m < n_kept) out[m * out_n + k * out_k] = features[indices[m] * stride_n + k * stride_k];
}

extern "C" __global__ void compact_scatter(const i64* indices, i64 n_kept, const float* features, i64 stride_n,
                                           i64 stride_k, float* out, i64 out_n, i64 out_k) {
    const i64 m = i64(blockIdx.x) * blockDim.x + threadIdx.x, k = blockIdx.y;
    if (m < n_kept) out[indices[m] * out_n + k * out_k] = features[m * stride_n + k * stride_k];
}
