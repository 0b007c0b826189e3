// CPU kernels of the fused multilayer perceptron. Maths: mlp.cuh; blocks: mlp_block.h; Python face: mlp.py.
// Matrices [N, K] are fp32 in any order with one unit stride (stride of n, stride of k). `params` and its gradient are
// in the layout of mlp.cuh; activation codes are mlp::Activation. Null results are not computed. `grad_params` is
// overwritten, or added to where accumulate is not 0. Sums over samples are taken over fixed ranges of samples and
// added in order: results do not depend on n_threads.
#pragma once
#include "common/entry.h"

// out[n, :] = network(in[n, :])
NEURAL_KERNEL(void, mlp_forward,
              (const float* in, i64 in_n, i64 in_k, i64 n, const float* params, int n_in, int n_out, int width,
               int n_hidden, int bias, int activation, int output_activation, float frequency, float* out, i64 out_n,
               i64 out_k, int n_threads))
// grad_in [N, n_in] and grad_params of <out, grad_out>
NEURAL_KERNEL(void, mlp_backward,
              (const float* grad_out, i64 go_n, i64 go_k, const float* in, i64 in_n, i64 in_k, i64 n,
               const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
               int output_activation, float frequency, float* grad_in, i64 gi_n, i64 gi_k, float* grad_params,
               int accumulate, int n_threads))
// to_grad_out [N, n_out], to_in [N, n_in] and grad_params of <grad_in, second>, grad_in as mlp_backward gives it
NEURAL_KERNEL(void, mlp_backward_backward,
              (const float* second, i64 second_n, i64 second_k, const float* grad_out, i64 go_n, i64 go_k,
               const float* in, i64 in_n, i64 in_k, i64 n, const float* params, int n_in, int n_out, int width,
               int n_hidden, int bias, int activation, int output_activation, float frequency, float* to_grad_out,
               i64 tg_n, i64 tg_k, float* to_in, i64 ti_n, i64 ti_k, float* grad_params, int accumulate,
               int n_threads))
