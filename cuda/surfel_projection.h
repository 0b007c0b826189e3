// CPU kernels of the projection of surfels to the image. Maths: surfel_projection.cuh; Python face:
// surfel_projection.py. Parameters and camera as in gaussian_projection.h; the third of log_scales is not read.
// image [20, N], fp32: centre x y, axes (x of u, x of v, y of u, y of v, z of u, z of v), depth, normal, opacity; the
// cover's x, y, conic A B C, half width, half height. All rows hold 0 where a surfel is not seen.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, surfel_projection_forward,
              (const float* means, const float* quats, const float* log_scales, const float* logits, i64 n,
               const float* w2c, const float* intrinsics, float width, float height, float near, float far,
               float* image, int n_threads))
// Gradients to all parameters, and to the camera (fp32 [16]: rotation, translation, fx fy cx cy; nullptr: not wanted),
// from those of the first 13 rows, fp32 [13, N]. Surfels with opacity 0 in `image` get exactly 0.
NEURAL_KERNEL(void, surfel_projection_backward,
              (const float* means, const float* quats, const float* log_scales, const float* logits, i64 n,
               const float* w2c, const float* intrinsics, const float* image, const float* grad, float* grad_means,
               float* grad_quats, float* grad_log_scales, float* grad_logits, float* grad_camera, int n_threads))
