// CPU kernels of the frequency encoding. Maths and order of features: frequency.cuh; Python face: frequency.py.
// positions [N, D] and features [N, 2 D n_frequencies] are fp32 in any order with one unit stride.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, frequency_forward,
              (const float* positions, i64 pos_stride_n, i64 pos_stride_k, i64 n, i64 n_dims, i64 n_frequencies,
               float* out, i64 out_stride_n, i64 out_stride_k, int n_threads))
// grad_positions[n, d] = sum_k 2^k pi (grad_sin cos - grad_cos sin)
NEURAL_KERNEL(void, frequency_backward,
              (const float* positions, i64 pos_stride_n, i64 pos_stride_k, const float* grad_out, i64 grad_stride_n,
               i64 grad_stride_k, i64 n, i64 n_dims, i64 n_frequencies, float* grad_positions, i64 gp_stride_n,
               i64 gp_stride_k, int n_threads))
// From `second` [N, D], the gradient of frequency_backward's result: to grad_out and to the positions.
NEURAL_KERNEL(void, frequency_backward_backward,
              (const float* positions, i64 pos_stride_n, i64 pos_stride_k, const float* grad_out, i64 grad_stride_n,
               i64 grad_stride_k, const float* second, i64 second_stride_n, i64 second_stride_k, i64 n, i64 n_dims,
               i64 n_frequencies, float* grad_grad, i64 gg_stride_n, i64 gg_stride_k, float* grad_positions,
               i64 gp_stride_n, i64 gp_stride_k, int n_threads))
