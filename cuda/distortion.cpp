// Distortion loss on the CPU: lanes are consecutive samples of one ray, chunks of rays over threads.
#include "distortion.h"
#include "common/scan.h"
#include "common/rays.h"
#include "distortion.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

struct Intervals {
    const float *weights, *t_starts, *t_ends;
};

// One vector of samples with the sums of w and w m up to and including each lane. Lanes past the ray weigh nothing.
struct Lanes {
    vfloat w, m, length, sum_w, sum_m;
};

// Calls visit(at, count, lanes) along one ray.
template <class Visit> NEURAL_HD void along(const Intervals& in, i64 start, i64 total, const Visit& visit) {
    if (total == 0) return;
    const float origin = in.t_starts[start];
    vfloat before_w{}, before_m{};
    for (i64 i = 0; i < total; i += kWidth) {
        const i64 at = start + i, count = total - i < kWidth ? total - i : kWidth;
        const vfloat a = load_first(in.t_starts + at, count), b = load_first(in.t_ends + at, count);
        Lanes lanes;
        lanes.w = load_first(in.weights + at, count);
        lanes.m = 0.5f * ((a - origin) + (b - origin));
        lanes.length = b - a;
        lanes.sum_w = before_w + scan_sum(lanes.w);
        lanes.sum_m = before_m + scan_sum(lanes.w * lanes.m);
        visit(at, count, lanes);
        before_w = splat(lanes.sum_w[kWidth - 1]);
        before_m = splat(lanes.sum_m[kWidth - 1]);
    }
}

} // namespace

void distortion_forward(const float* weights, const float* t_starts, const float* t_ends, const i64* packed_info,
                        i64 n_rays, float* loss, int n_threads) {
    for_each_ray(packed_info, n_rays, n_threads, [&](i64 ray, i64 start, i64 total) {
        vfloat terms{};
        along({weights, t_starts, t_ends}, start, total, [&](i64, i64, const Lanes& l) {
            terms += distortion::term(l.w, l.m, l.length, l.sum_w - l.w, l.sum_m - l.w * l.m);
        });
        loss[ray] = sum(terms);
    });
}

void distortion_backward(const float* weights, const float* t_starts, const float* t_ends, const i64* packed_info,
                         i64 n_rays, const float* grad_loss, float* grad_weights, float* grad_t_starts,
                         float* grad_t_ends, int n_threads) {
    for_each_ray(packed_info, n_rays, n_threads, [&](i64 ray, i64 start, i64 total) {
        const Intervals in{weights, t_starts, t_ends};
        const float g = grad_loss[ray];
        float total_w = 0.0f, total_m = 0.0f;
        along(in, start, total, [&](i64, i64, const Lanes& l) {
            total_w = l.sum_w[kWidth - 1];
            total_m = l.sum_m[kWidth - 1];
        });
        along(in, start, total, [&](i64 at, i64 count, const Lanes& l) {
            const vfloat front_w = l.sum_w - l.w, behind_w = total_w - l.sum_w;
            store_first(grad_weights + at,
                        g * distortion::grad_weight(l.w, l.m, l.length, front_w, l.sum_m - l.w * l.m, behind_w,
                                                    total_m - l.sum_m), count);
            if (!grad_t_starts) return;
            vfloat a, b;
            distortion::grad_ends(l.w, front_w, behind_w, a, b);
            store_first(grad_t_starts + at, g * a, count);
            store_first(grad_t_ends + at, g * b, count);
        });
    });
}

} // namespace NEURAL_ISA
} // namespace neural
