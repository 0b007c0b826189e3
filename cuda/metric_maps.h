// CPU kernels of the metric maps. Maths: metric_maps.cuh; Python face: metric_maps.py.
// positions [N, D] and maps [3 N, D] (map k of position n in row k N + n) are fp32 in any order with one unit stride;
// `kind` is metric_maps::Kind.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, metric_maps_forward,
              (const float* positions, i64 pos_n, i64 pos_k, i64 n, i64 n_dims, int kind, float* out, i64 out_n,
               i64 out_k, int n_threads))
// grad_positions[n, d] = sum_k grad_out[k N + n, d] t_k'(x)
NEURAL_KERNEL(void, metric_maps_backward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* grad_out, i64 go_n, i64 go_k, i64 n,
               i64 n_dims, int kind, float* grad_positions, i64 gp_n, i64 gp_k, int n_threads))
// From `second` [N, D], the gradient of metric_maps_backward's result: to grad_out and to the positions.
NEURAL_KERNEL(void, metric_maps_backward_backward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* grad_out, i64 go_n, i64 go_k,
               const float* second, i64 second_n, i64 second_k, i64 n, i64 n_dims, int kind, float* to_grad, i64 tg_n,
               i64 tg_k, float* to_positions, i64 tp_n, i64 tp_k, int n_threads))
