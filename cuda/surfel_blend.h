// CPU kernels of surfel blending. Maths: surfel_blend.cuh; Python face: surfel_blend.py. Tiles, hits and the orders of
// tensors are those of gaussian_blend.h. records fp32 [N, stride]: the cover as gaussian_blend.h has a Gaussian's
// geometry (with the surfel's own log2 of opacity), then centre x y, axes as in surfel_projection.h, depth, the area of
// the axes, e's slopes along x and y, the features, and what fills them up to a stride of whole cache lines.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, surfel_blend_pack,
              (const float* centres, i64 o_stride_n, i64 o_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* axes, i64 a_stride_n,
               i64 a_stride_k, const float* features, i64 f_stride_n, i64 f_stride_k, const float* depths,
               const float* opacities, i64 n, i64 n_channels, float* records, int n_threads))
// Writes planes [C + 4, H, W] (features, alpha, expected depth, median depth, distortion), and for backward state
// [5, H, W] (1 - alpha; the first depth f; sums of weight times t - f and (t - f)^2; the place of the median's surfel in
// its tile, from 1) and hits u16 [P].
NEURAL_KERNEL(void, surfel_blend_forward,
              (const float* records, i64 n_channels, const float* background, const i64* offsets,
               const i32* gaussians, i64 width, i64 height, float* planes, float* state, u16* hits, int n_threads))
// Gradients from that of the planes; writes feature-major [2, N], [6, N], [N], [N], [C, N] and [C] (the last nullptr: not
// wanted). absolute [N] is added to unless it is nullptr.
NEURAL_KERNEL(void, surfel_blend_backward,
              (const float* records, i64 n, i64 n_channels, const i64* offsets, const i32* gaussians,
               const i64* starts, const i32* slots, const u16* hits, i64 width, i64 height, const float* planes,
               const float* state, const float* grad, float* grad_means2d, float* grad_axes, float* grad_depths,
               float* grad_opacities, float* grad_features, float* grad_background, float* absolute, int n_threads))
