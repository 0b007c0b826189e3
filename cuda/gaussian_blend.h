// CPU kernels that blend tiles of Gaussians, and take gradients back. Maths: gaussian_blend.cuh; Python face:
// gaussian_blend.py. means2d [N, 2], conics [N, 3], features [N, C] (C from 1 to 4) fp32 with strides of n and k,
// opacities [N]; offsets, gaussians, masks, slots, starts as in gaussian_tiles.h. colors is [C, H, W], alphas [H, W].
#pragma once
#include "common/entry.h"

// Writes colors and alphas, and reached [T] (i32): how many of a tile's pairs any of its pixels still looked at.
NEURAL_KERNEL(void, gaussian_blend_forward,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* features, i64 f_stride_n, i64 f_stride_k, i64 n,
               i64 n_channels, const i64* offsets, const i32* gaussians, const u16* masks, i64 width, i64 height,
               const float* background, float* colors, float* alphas, i32* reached, int n_threads))
// Gradients from those of colors (any strides of row, column, channel) and alphas (contiguous; nullptr: zero): to means2d
// [2, N], conics [3, N], opacities [N], features [C, N], background [C] (nullptr: not wanted). absolute [N] (nullptr: not
// wanted) is raised by the length of the sums over pixels of |dL/dx| and |dL/dy|.
NEURAL_KERNEL(void, gaussian_blend_backward,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* features, i64 f_stride_n, i64 f_stride_k, i64 n,
               i64 n_channels, const i64* offsets, const i32* gaussians, const u16* masks, const i32* slots,
               const i32* starts, const i32* reached, i64 width, i64 height, const float* background,
               const float* grad_colors, i64 g_stride_h, i64 g_stride_w, i64 g_stride_c, const float* grad_alphas,
               float* grad_means2d, float* grad_conics, float* grad_opacities, float* grad_features,
               float* grad_background, float* absolute, int n_threads))
