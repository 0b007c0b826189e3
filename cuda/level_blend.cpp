// Blending over the samples of a cone on the CPU: chunks of points over threads. A level's weights are computed once
// for all of its features, by vectors of samples; sums run over samples, levels and features in order.
#include "level_blend.h"
#include "common/features.h"
#include "common/threads.h"
#include "level_blend.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kSamples = 1024; // of a task, in whole points

struct Exp {
    NEURAL_HD vfloat operator()(vfloat v) const { return exp(v); }
};

struct Blend {
    const float *widths, *reach, *factors;
    i64 n, n_samples, n_levels, n_features;
    int order;

    // weights[i] = factors w_l / M of samples first .. first + count - 1; `weights` has room for whole vectors
    void fill(i64 level, i64 first, i64 count, float* weights) const {
        for (i64 i = 0; i < count; i += kWidth) {
            const int lanes = count - i < kWidth ? int(count - i) : kWidth;
            vfloat w = level::weight(load(widths + first + i, lanes), reach[level], order, Exp{}) * (1.0f / float(n_samples));
            if (factors) w = w * load(factors + first + i, lanes);
            store(weights + i, w);
        }
    }
};

// Calls task(first point, points, scratch of two vectors' room and a task's samples) for each chunk.
template <class Task> void by_chunks(const Blend& b, int n_threads, const Task& task) {
    const i64 points = b.n_samples < kSamples ? kSamples / b.n_samples : 1;
    const i64 room = points * b.n_samples + kWidth;
    parallel_for_with<float>(2 * room, (b.n + points - 1) / points, n_threads, [&](i64 chunk, float* scratch) {
        const i64 first = chunk * points;
        task(first, b.n - first < points ? b.n - first : points, scratch, scratch + room);
    });
}

} // namespace

void level_blend_forward(const float* features, i64 feat_n, i64 feat_k, const float* widths, const float* reach,
                         const float* factors, i64 n, i64 n_samples, i64 n_levels, i64 n_features, int order,
                         float* blended, i64 out_n, i64 out_k, int n_threads) {
    const Blend b{widths, reach, factors, n, n_samples, n_levels, n_features, order};
    by_chunks(b, n_threads, [&](i64 first, i64 points, float* weights, float*) {
        for (i64 l = 0; l < n_levels; ++l) {
            b.fill(l, first * n_samples, points * n_samples, weights);
            for (i64 k = l * n_features; k < (l + 1) * n_features; ++k) {
                const float* from = features + first * n_samples * feat_n + k * feat_k;
                for (i64 p = 0; p < points; ++p) {
                    float sum = 0.0f;
                    for (i64 i = p * n_samples; i < (p + 1) * n_samples; ++i) sum += weights[i] * from[i * feat_n];
                    blended[(first + p) * out_n + k * out_k] = sum;
                }
            }
        }
    });
}

void level_blend_spread(const float* grad, i64 grad_n, i64 grad_k, const float* widths, const float* reach,
                        const float* factors, i64 n, i64 n_samples, i64 n_levels, i64 n_features, int order, float* out,
                        i64 out_n, i64 out_k, int n_threads) {
    const Blend b{widths, reach, factors, n, n_samples, n_levels, n_features, order};
    by_chunks(b, n_threads, [&](i64 first, i64 points, float* weights, float*) {
        for (i64 l = 0; l < n_levels; ++l) {
            b.fill(l, first * n_samples, points * n_samples, weights);
            for (i64 k = l * n_features; k < (l + 1) * n_features; ++k) {
                float* to = out + first * n_samples * out_n + k * out_k;
                for (i64 p = 0; p < points; ++p) {
                    const float up = grad[(first + p) * grad_n + k * grad_k];
                    for (i64 i = p * n_samples; i < (p + 1) * n_samples; ++i) to[i * out_n] = weights[i] * up;
                }
            }
        }
    });
}

void level_blend_dot(const float* features, i64 feat_n, i64 feat_k, const float* grad, i64 grad_n, i64 grad_k,
                     const float* widths, const float* reach, const float* factors, i64 n, i64 n_samples, i64 n_levels,
                     i64 n_features, int order, float* out, int n_threads) {
    const Blend b{widths, reach, factors, n, n_samples, n_levels, n_features, order};
    by_chunks(b, n_threads, [&](i64 first, i64 points, float* weights, float* sums) {
        const i64 start = first * n_samples, count = points * n_samples;
        for (i64 i = 0; i < count; ++i) sums[i] = 0.0f;
        for (i64 l = 0; l < n_levels; ++l) {
            b.fill(l, start, count, weights);
            for (i64 k = l * n_features; k < (l + 1) * n_features; ++k) {
                const float* from = features + start * feat_n + k * feat_k;
                for (i64 p = 0; p < points; ++p) {
                    const float up = grad[(first + p) * grad_n + k * grad_k];
                    for (i64 i = p * n_samples; i < (p + 1) * n_samples; ++i)
                        sums[i] += weights[i] * from[i * feat_n] * up;
                }
            }
        }
        for (i64 i = 0; i < count; ++i) out[start + i] = sums[i];
    });
}

} // namespace NEURAL_ISA
} // namespace neural
