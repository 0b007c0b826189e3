// CPU kernels that blend a grid's features over the samples of a cone. Maths: level_blend.cuh; Python face:
// level_blend.py. Point n has the samples n M .. n M + M - 1. features [N M, L F] of the samples and blended [N, L F] are
// fp32 matrices given by pointer, stride of n, stride of k; widths [N M] and reach [L] are dense. w_l(s, order) is the
// weight of level l or its derivative of that order by the width. `factors` [N M] or null: one more factor per sample.
#pragma once
#include "common/entry.h"

// blended[n, l F + f] = 1/M sum_m factors w_l(width) features[n M + m, l F + f]
NEURAL_KERNEL(void, level_blend_forward,
              (const float* features, i64 feat_n, i64 feat_k, const float* widths, const float* reach,
               const float* factors, i64 n, i64 n_samples, i64 n_levels, i64 n_features, int order, float* blended,
               i64 out_n, i64 out_k, int n_threads))
// out[i, l F + f] = 1/M factors w_l(width) grad[i / M, l F + f]
NEURAL_KERNEL(void, level_blend_spread,
              (const float* grad, i64 grad_n, i64 grad_k, const float* widths, const float* reach,
               const float* factors, i64 n, i64 n_samples, i64 n_levels, i64 n_features, int order, float* out,
               i64 out_n, i64 out_k, int n_threads))
// out[i] = 1/M factors sum_lf w_l(width) features[i, l F + f] grad[i / M, l F + f]
NEURAL_KERNEL(void, level_blend_dot,
              (const float* features, i64 feat_n, i64 feat_k, const float* grad, i64 grad_n, i64 grad_k,
               const float* widths, const float* reach, const float* factors, i64 n, i64 n_samples, i64 n_levels,
               i64 n_features, int order, float* out, int n_threads))
