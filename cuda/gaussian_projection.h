// CPU kernels of the projection of Gaussians to the image. Maths: gaussian_projection.cuh; Python face:
// gaussian_projection.py. means [N, 3], quats [N, 4] (w x y z), log_scales [N, 3], logits [N]: fp32, row-major.
// w2c [4, 4] row-major, intrinsics [4] (fx fy cx cy), distortion [8] (nullptr: none): fp32. antialiased: 0 or 1.
// model: 0 perspective, 1 orthographic, 2 opencv, 3 fisheye.
// image [9, N], fp32: x, y, conic A B C, opacity, depth, half width, half height; opacity and extents are 0 where a
// Gaussian is not seen, and the other rows hold 0 there.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, gaussian_projection_forward,
              (const float* means, const float* quats, const float* log_scales, const float* logits, i64 n,
               const float* w2c, const float* intrinsics, const float* distortion, float width, float height,
               float near, float far, float blur, int antialiased, int model, float fold, float* image, int n_threads))
// Gradients to all parameters, and to the camera (fp32 [16]: rotation, translation, fx fy cx cy; nullptr: not wanted)
// from those of x and y, conic, opacity, depth (nullptr: zero), each with its own strides. Gaussians with opacity 0 in
// `image` get exactly 0.
NEURAL_KERNEL(void, gaussian_projection_backward,
              (const float* means, const float* quats, const float* log_scales, const float* logits, i64 n,
               const float* w2c, const float* intrinsics, const float* distortion, float width, float height,
               float near, float far, float blur, int antialiased, int model, float fold, const float* image,
               const float* grad_means2d, i64 gm_stride_n, i64 gm_stride_k, const float* grad_conics, i64 gc_stride_n,
               i64 gc_stride_k, const float* grad_opacities, const float* grad_depths, float* grad_means,
               float* grad_quats, float* grad_log_scales, float* grad_logits, float* grad_camera, int n_threads))
