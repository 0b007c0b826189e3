// Packed compositing on the GPU: one warp per ray, lanes are consecutive samples. Specialised on CHANNELS.
// Arrays as in composite.h; launched with 32 threads per ray in 1-D blocks whose size is a multiple of 32.
#include "composite.cuh"

using namespace neural;

constexpr unsigned kAll = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float v) {
    for (int step = 16; step > 0; step /= 2) v += __shfl_down_sync(kAll, v, step);
    return v; // in lane 0
}
// Product of the lanes up to and including this one.
__device__ __forceinline__ float warp_scan_product(float v, int lane) {
    for (int step = 1; step < 32; step *= 2) {
        const float other = __shfl_up_sync(kAll, v, step);
        if (lane >= step) v *= other;
    }
    return v;
}
// Sum of the lanes from this one on.
__device__ __forceinline__ float warp_scan_sum_down(float v, int lane) {
    for (int step = 1; step < 32; step *= 2) {
        const float other = __shfl_down_sync(kAll, v, step);
        if (lane + step < 32) v += other;
    }
    return v;
}

extern "C" __global__ void composite_forward(const float* densities, const float* colors, i64 colors_n, i64 colors_k,
                                             const float* t_starts, const float* t_ends, const i64* packed_info,
                                             i64 n_rays, float early_stop, float* rgb, float* alpha, float* depth,
                                             float* weights) {
    const i64 thread = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 ray = thread / 32;
    const int lane = int(thread % 32);
    if (ray >= n_rays) return; // whole warps
    const i64 start = packed_info[2 * ray], end = start + packed_info[2 * ray + 1];
    float passed = 1.0f, sum_w = 0.0f, sum_t = 0.0f, sums[CHANNELS] = {};
    for (i64 base = start; base < end; base += 32) {
        const i64 i = base + lane;
        float w = 0.0f;
        if (passed >= early_stop) { // the same in all lanes
            const float t0 = i < end ? t_starts[i] : 0.0f, t1 = i < end ? t_ends[i] : 0.0f;
            const float a = composite::opacity(i < end ? densities[i] : 0.0f, t1 - t0, [](float v) { return expm1f(v); });
            const float after = passed * warp_scan_product(1.0f - a, lane);
            const float left = __shfl_up_sync(kAll, after, 1);
            const float before = lane > 0 ? left : passed;
            passed = __shfl_sync(kAll, after, 31);
            if (before >= early_stop) w = before * a;
            sum_w += w;
            sum_t += w * 0.5f * (t0 + t1);
            if (i < end)
                for (int k = 0; k < CHANNELS; ++k) sums[k] += w * colors[i * colors_n + k * colors_k];
        }
        if (i < end) weights[i] = w;
    }
    sum_w = warp_sum(sum_w);
    sum_t = warp_sum(sum_t);
    for (int k = 0; k < CHANNELS; ++k) sums[k] = warp_sum(sums[k]);
    if (lane > 0) return;
    alpha[ray] = sum_w;
    depth[ray] = sum_t;
    for (int k = 0; k < CHANNELS; ++k) rgb[ray * CHANNELS + k] = sums[k];
}

// As on the CPU: forward once to leave T_{i+1} in grad_densities (-1 behind the stop), then back.
extern "C" __global__ void composite_backward(const float* densities, const float* colors, i64 colors_n, i64 colors_k,
                                              const float* t_starts, const float* t_ends, const i64* packed_info,
                                              i64 n_rays, float early_stop, const float* weights,
                                              const float* grad_rgb, const float* grad_alpha, const float* grad_depth,
                                              const float* grad_weights, float* grad_densities, float* grad_colors,
                                              i64 gc_n, i64 gc_k) {
    const i64 thread = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 ray = thread / 32;
    const int lane = int(thread % 32);
    if (ray >= n_rays) return;
    const i64 start = packed_info[2 * ray], count = packed_info[2 * ray + 1], end = start + count;
    float from_rgb[CHANNELS];
    for (int k = 0; k < CHANNELS; ++k) from_rgb[k] = grad_rgb ? grad_rgb[ray * CHANNELS + k] : 0.0f;
    if (grad_colors)
        for (i64 i = start + lane; i < end; i += 32)
            for (int k = 0; k < CHANNELS; ++k) grad_colors[i * gc_n + k * gc_k] = from_rgb[k] * weights[i];
    if (!grad_densities) return;
    float passed = 1.0f;
    for (i64 base = start; base < end; base += 32) {
        const i64 i = base + lane;
        float left_over = -1.0f;
        if (passed >= early_stop) {
            const float a = i < end ? composite::opacity(densities[i], t_ends[i] - t_starts[i],
                                                         [](float v) { return expm1f(v); })
                                    : 0.0f;
            const float after = passed * warp_scan_product(1.0f - a, lane);
            const float left = __shfl_up_sync(kAll, after, 1);
            if ((lane > 0 ? left : passed) >= early_stop) left_over = after;
            passed = __shfl_sync(kAll, after, 31);
        }
        if (i < end) grad_densities[i] = left_over; // read again by the same lane only
    }
    const float from_alpha = grad_alpha ? grad_alpha[ray] : 0.0f, from_depth = grad_depth ? grad_depth[ray] : 0.0f;
    float behind = 0.0f;
    for (i64 base = start + (count - 1) / 32 * 32; base >= start && count > 0; base -= 32) {
        const i64 i = base + lane;
        float after = -1.0f, g = 0.0f, own = 0.0f, length = 0.0f;
        if (i < end) {
            const float t0 = t_starts[i], t1 = t_ends[i];
            after = grad_densities[i];
            length = t1 - t0;
            g = from_alpha + from_depth * 0.5f * (t0 + t1) + (grad_weights ? grad_weights[i] : 0.0f);
            for (int k = 0; k < CHANNELS; ++k) g += from_rgb[k] * colors[i * colors_n + k * colors_k];
            if (!(after < 0.0f)) own = g * weights[i];
        }
        const float sum = behind + warp_scan_sum_down(own, lane);
        const float right = __shfl_down_sync(kAll, sum, 1);
        const float value = composite::grad_density(g, after, lane < 31 ? right : behind, length);
        if (i < end) grad_densities[i] = after < 0.0f ? 0.0f : value;
        behind = __shfl_sync(kAll, sum, 0);
    }
}
