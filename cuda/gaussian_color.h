// CPU kernels of the Gaussians' colours. Maths: gaussian_color.cuh; Python face: gaussian_color.py.
// means [N, 3], sh0 [N, 3], shN [N, K, 3], opacities [N] (nullptr: all are wanted; else only those above 0), colors and
// grad_colors [3, N]: fp32. degree: of the spherical harmonics that count, 0 to 3, with (degree + 1)^2 - 1 <= K.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, gaussian_color_forward,
              (const float* means, const float* centre, const float* sh0, const float* shN, i64 n, i64 n_coefficients,
               int degree, const float* opacities, float* colors, int n_threads))
// Gradients to means, sh0, shN (nullptr: not wanted; coefficients beyond the degree get 0) and the centre [3] (nullptr:
// not wanted). A channel whose colour is 0 has none.
NEURAL_KERNEL(void, gaussian_color_backward,
              (const float* means, const float* centre, const float* shN, i64 n, i64 n_coefficients, int degree,
               const float* opacities, const float* colors, const float* grad_colors, i64 stride_n, i64 stride_k,
               float* grad_means, float* grad_sh0, float* grad_shN, float* grad_centre, int n_threads))
