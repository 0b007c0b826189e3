// CPU kernels that place packed samples in space. Maths: ray_points.cuh; Python face: ray_points.py.
// origins, directions [R, 3] fp32 in any order with one unit stride; packed_info i64 [R, 2] (start, count).
#pragma once
#include "common/entry.h"

// positions[i, s] = origins[r, i] + (t_starts[s] + t_ends[s]) / 2 * directions[r, i], sample_directions[i, s] =
// directions[r, i] for the samples s of ray r; both [3, S]
NEURAL_KERNEL(void, ray_points_forward,
              (const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
               i64 direction_stride_n, i64 direction_stride_k, const float* t_starts, const float* t_ends,
               const i64* packed_info, i64 n_rays, i64 n_samples, float* positions, float* sample_directions,
               int n_threads))
// grad_origins[r] = sum_s grad_positions[s], grad_directions[r] = sum_s t_mid grad_positions[s] + grad_sample_directions[s];
// either upstream gradient may be null (zero). Both results are [R, 3], row major.
NEURAL_KERNEL(void, ray_points_backward,
              (const float* grad_positions, i64 gp_stride_n, i64 gp_stride_k, const float* grad_sample_directions,
               i64 gd_stride_n, i64 gd_stride_k, const float* t_starts, const float* t_ends, const i64* packed_info,
               i64 n_rays, float* grad_origins, float* grad_directions, int n_threads))
