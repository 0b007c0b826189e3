// CPU kernels of the fused multilayer perceptron. Maths: mlp.cuh; inner loops: common/block_gemm.h; Python: mlp.py.
// Inputs [N, n_in] and grad_out [N, n_out] are fp32 in any order with one unit stride (stride of n, stride of k);
// results per sample are feature-major [K, N]. params is one fp32 array (Shape in mlp.cuh). Activations are codes of
// mlp::Activation; `frequency` is the sine's.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, mlp_forward,
              (const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
               int output_activation, float frequency, const float* in, i64 in_n, i64 in_k, i64 n, float* out,
               int n_threads))
// Writes grad_in [n_in, N] and adds to grad_params; either may be null. Hidden values are computed again per block.
NEURAL_KERNEL(void, mlp_backward,
              (const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
               int output_activation, float frequency, const float* in, i64 in_n, i64 in_k, const float* grad_out,
               i64 grad_n, i64 grad_k, i64 n, float* grad_in, float* grad_params, int n_threads))
// For s = <grad_in, direction>, direction [N, n_in]: adds ds/dparams to grad_params, writes ds/din to grad_in
// [n_in, N] and ds/dgrad_out to grad_grad [n_out, N]; any of the three may be null.
NEURAL_KERNEL(void, mlp_backward_backward,
              (const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
               int output_activation, float frequency, const float* in, i64 in_n, i64 in_k, const float* grad_out,
               i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k, i64 n, float* grad_params,
               float* grad_in, float* grad_grad, int n_threads))
