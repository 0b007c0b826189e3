// CPU kernels of the modulated sine network. Maths: modulated_sine.cuh; Python face: modulated_sine.py.
// coordinates [N, n_coordinates], features [n_grids N, n_features] (grid g in rows g N .. g N + N - 1), results and
// gradients are fp32 in any order with one unit stride (stride of n, stride of k). Null results are not computed.
// `grad_params` is overwritten, or added to where accumulate is not 0. Sums over samples are taken over fixed ranges of
// samples and added in order: results do not depend on n_threads.
#pragma once
#include "common/entry.h"

// out[n, :] = network(coordinates[n, :], features[n, :], features[N + n, :], ..)
NEURAL_KERNEL(void, modulated_sine_forward,
              (const float* coordinates, i64 x_n, i64 x_k, const float* features, i64 e_n, i64 e_k, i64 n,
               const float* params, int n_coordinates, int n_features, int n_grids, int n_out, int width, int n_hidden,
               float frequency, float* out, i64 out_n, i64 out_k, int n_threads))
// grad_coordinates, grad_features and grad_params of <out, grad_out>
NEURAL_KERNEL(void, modulated_sine_backward,
              (const float* grad_out, i64 go_n, i64 go_k, const float* coordinates, i64 x_n, i64 x_k,
               const float* features, i64 e_n, i64 e_k, i64 n, const float* params, int n_coordinates, int n_features,
               int n_grids, int n_out, int width, int n_hidden, float frequency, float* grad_coordinates, i64 gx_n,
               i64 gx_k, float* grad_features, i64 ge_n, i64 ge_k, float* grad_params, int accumulate, int n_threads))
