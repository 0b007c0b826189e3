// CPU kernels that bring features from pairs (point, cell), sorted by cell, back to points: the sum over a point's slots
// of weight times feature, and the two derivatives of it. Python face: cell_blend.py; pairs, slots, places and order as
// in cell_sort.h. weights fp32 [N, S], null for 1 everywhere. Matrices by pointer, stride of n, stride of k.
#pragma once
#include "common/entry.h"

// 1 if places and order are each other's inverse, else 0
NEURAL_KERNEL(i64, cell_blend_check, (const i32* places, i64 n_entries, const i32* order, i64 n_pairs))
// out[n, k] = sum over s of weights[n, s] * features[places[n, s], k], entries of place -1 left out
NEURAL_KERNEL(void, cell_blend_forward,
              (const float* features, i64 feat_n, i64 feat_k, i64 n_features, const i32* places, const float* weights,
               i64 n_points, i64 slots, float* out, i64 out_n, i64 out_k, int n_threads))
// out[places[n, s], k] = weights[n, s] * grad[n, k]: every pair has one entry, so each is written once
NEURAL_KERNEL(void, cell_blend_backward_features,
              (const float* grad, i64 grad_n, i64 grad_k, i64 n_features, const i32* places, const float* weights,
               i64 n_points, i64 slots, float* out, i64 out_n, i64 out_k, int n_threads))
// out[n, s] = sum over k of grad[n, k] * features[places[n, s], k], 0 where the place is -1
NEURAL_KERNEL(void, cell_blend_backward_weights,
              (const float* grad, i64 grad_n, i64 grad_k, const float* features, i64 feat_n, i64 feat_k, i64 n_features,
               const i32* places, i64 n_points, i64 slots, float* out, int n_threads))
