// CPU kernels of Gaussian blending. Maths: gaussian_blend.cuh; Python face: gaussian_blend.py.
// N Gaussians, C channels, T tiles of 16x16 pixels row by row, P pairs (a Gaussian in a tile), near to far per tile.
// Projected Gaussians: means2d [N, 2], conics [N, 3], features [N, C] fp32 in any order with one unit stride,
// opacities fp32 [N]. offsets i64 [T + 1], gaussians i32 [P], starts i64 [N + 1], slots i32 [P] as in Tiles.
// records fp32 [N, stride] is the Gaussians as all kernels but the first read them: x, y, the exponent's a, b, c and l,
// -b / 2a, -b / 2c, the features, and what fills them up to a stride of whole cache lines.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, gaussian_blend_pack,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* features, i64 f_stride_n, i64 f_stride_k, i64 n,
               i64 n_channels, float* records, int n_threads))
// Writes colors [C, H, W], alphas [H, W], left [H, W] (1 - alpha, without its rounding) and hits u16 [P]: bit b of a pair
// tells that it is blended into, or ends, a pixel of block b (4x4 pixels, row by row) of its tile. background fp32 [C]; nullptr counts as 0.
NEURAL_KERNEL(void, gaussian_blend_forward,
              (const float* records, i64 n_channels, const float* background, const i64* offsets,
               const i32* gaussians, i64 width, i64 height, float* colors, float* alphas, float* left, u16* hits,
               int n_threads))
// Gradients from those of the outputs (nullptr: zero), [C, H, W] and [H, W]; writes feature-major [2, N], [3, N], [N],
// [C, N] and [C] (the last nullptr: not wanted). absolute [N] is added to unless it is nullptr.
NEURAL_KERNEL(void, gaussian_blend_backward,
              (const float* records, i64 n, i64 n_channels, const i64* offsets, const i32* gaussians,
               const i64* starts, const i32* slots, const u16* hits, i64 width, i64 height, const float* colors,
               const float* left, const float* grad_colors, const float* grad_alphas, float* grad_means2d,
               float* grad_conics, float* grad_opacities, float* grad_features, float* grad_background,
               float* absolute, int n_threads))
// Per Gaussian, the pixels it is blended into and the sum of its weights; records of no channel.
NEURAL_KERNEL(void, gaussian_contributions,
              (const float* records, i64 n, const i64* offsets, const i32* gaussians, const i64* starts,
               const i32* slots, i64 width, i64 height, i64* counts, float* weights, int n_threads))
// Depth [H, W] at which what is left falls to one half; records of one channel, the depth.
NEURAL_KERNEL(void, gaussian_median_depth,
              (const float* records, const i64* offsets, const i32* gaussians, i64 width, i64 height, float* depth,
               int n_threads))
