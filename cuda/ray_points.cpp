// Sample positions on the CPU: a ray's samples are contiguous, so its constants are broadcast over vectors of them and
// its gradients are summed in sample order by the one task that owns the ray.
#include "ray_points.h"
#include "common/features.h"
#include "common/threads.h"
#include "ray_points.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 64; // rays per task

template <class Visit> void each_ray(i64 n_rays, int n_threads, const Visit& visit) {
    parallel_for((n_rays + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n_rays < (chunk + 1) * kChunk ? n_rays : (chunk + 1) * kChunk;
        for (i64 r = chunk * kChunk; r < end; ++r) visit(r);
    });
}

} // namespace

void ray_points_forward(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                        i64 direction_stride_n, i64 direction_stride_k, const float* t_starts, const float* t_ends,
                        const i64* packed_info, i64 n_rays, i64 n_samples, float* positions, float* sample_directions,
                        int n_threads) {
    each_ray(n_rays, n_threads, [&](i64 r) {
        const i64 start = packed_info[2 * r], end = start + packed_info[2 * r + 1];
        float o[3], d[3];
        for (int i = 0; i < 3; ++i) {
            o[i] = origins[r * origin_stride_n + i * origin_stride_k];
            d[i] = directions[r * direction_stride_n + i * direction_stride_k];
        }
        for (i64 s = start; s < end; s += kWidth) {
            const int count = end - s < kWidth ? int(end - s) : kWidth;
            const vfloat t = ray_points::middle(load(t_starts + s, count), load(t_ends + s, count));
            for (int i = 0; i < 3; ++i) {
                store(positions + i * n_samples + s, o[i] + t * d[i], count);
                store(sample_directions + i * n_samples + s, splat(d[i]), count);
            }
        }
    });
}

void ray_points_backward(const float* grad_positions, i64 gp_stride_n, i64 gp_stride_k,
                         const float* grad_sample_directions, i64 gd_stride_n, i64 gd_stride_k, const float* t_starts,
                         const float* t_ends, const i64* packed_info, i64 n_rays, float* grad_origins,
                         float* grad_directions, int n_threads) {
    const Rows points{grad_positions, gp_stride_n, gp_stride_k};
    const Rows along{grad_sample_directions, gd_stride_n, gd_stride_k};
    each_ray(n_rays, n_threads, [&](i64 r) {
        const i64 start = packed_info[2 * r], end = start + packed_info[2 * r + 1];
        vfloat o[3]{}, d[3]{};
        for (i64 s = start; s < end; s += kWidth) {
            const int count = end - s < kWidth ? int(end - s) : kWidth;
            const vfloat t = ray_points::middle(load(t_starts + s, count), load(t_ends + s, count));
            for (int i = 0; i < 3; ++i) {
                if (grad_positions) {
                    const vfloat g = points.load_lanes(s, i, count);
                    o[i] = o[i] + g;
                    d[i] = d[i] + t * g;
                }
                if (grad_sample_directions) d[i] = d[i] + along.load_lanes(s, i, count);
            }
        }
        for (int i = 0; i < 3; ++i) {
            grad_origins[3 * r + i] = sum(o[i]);
            grad_directions[3 * r + i] = sum(d[i]);
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
