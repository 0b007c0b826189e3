// CPU kernels of the real spherical harmonics. Maths: spherical_harmonics.cuh; Python face: spherical_harmonics.py.
// directions [N, 3] and features [N, degree^2] are fp32 in any order with one unit stride (stride of n, stride of k).
#pragma once
#include "common/entry.h"

// out[n, k] = Y_k(directions[n]), k = l^2 + l + m
NEURAL_KERNEL(void, spherical_harmonics_forward,
              (const float* directions, i64 dir_stride_n, i64 dir_stride_k, i64 n, int degree, float* out,
               i64 out_stride_n, i64 out_stride_k, int n_threads))
// grad_directions[n, :] = sum_k grad_out[n, k] dY_k/d(direction)
NEURAL_KERNEL(void, spherical_harmonics_backward,
              (const float* directions, i64 dir_stride_n, i64 dir_stride_k, const float* grad_out, i64 grad_stride_n,
               i64 grad_stride_k, i64 n, int degree, float* grad_directions, i64 gd_stride_n, i64 gd_stride_k,
               int n_threads))
