// CPU kernels of the encodings of single coordinates. Maths and order of features: axis_encoding.cuh; Python face:
// axis_encoding.py. kind: 0 triangle wave, 1 one-blob. positions [N, D], features and grad [N, D n_per_axis] and the
// results are fp32 matrices given by pointer, stride of n, stride of k.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, axis_encoding_forward,
              (const float* positions, i64 pos_n, i64 pos_k, i64 n, i64 n_dims, int kind, i64 n_per_axis, float* out,
               i64 out_n, i64 out_k, int n_threads))
// grad_positions[n, d] = sum_k grad[n, d n_per_axis + k] * derivative of feature k
NEURAL_KERNEL(void, axis_encoding_backward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k, i64 n,
               i64 n_dims, int kind, i64 n_per_axis, float* grad_positions, i64 gp_n, i64 gp_k, int n_threads))
// From `second` [N, D], the gradient of axis_encoding_backward's result: to grad and to the positions.
NEURAL_KERNEL(void, axis_encoding_backward_backward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
               const float* second, i64 second_n, i64 second_k, i64 n, i64 n_dims, int kind, i64 n_per_axis,
               float* grad_grad, i64 gg_n, i64 gg_k, float* grad_positions, i64 gp_n, i64 gp_k, int n_threads))
