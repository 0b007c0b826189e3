// CPU kernels of the distortion loss. Formula: distortion.cuh; Python face: distortion.py.
// weights, t_starts, t_ends are fp32 [S]; packed_info [R, 2] int64 as in composite.h; loss is fp32 [R].
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, distortion_forward,
              (const float* weights, const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays,
               float* loss, int n_threads))
// Gradients to the weights and, unless both are nullptr, to the interval ends, of samples that a ray owns.
NEURAL_KERNEL(void, distortion_backward,
              (const float* weights, const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays,
               const float* grad_loss, float* grad_weights, float* grad_t_starts, float* grad_t_ends, int n_threads))
