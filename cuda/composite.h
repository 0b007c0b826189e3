// CPU kernels of packed volume compositing. Maths: composite.cuh; Python face: composite.py.
// R rays; packed_info as in packed.h.
// densities, t_starts, t_ends, weights are fp32 [S]; colors [S, C] fp32 in any order with one unit stride.
#pragma once
#include "common/entry.h"

// Writes rgb [R, C] (row-major), alpha [R], depth [R], and the weights of every sample that a ray owns.
NEURAL_KERNEL(void, composite_forward,
              (const float* densities, const float* colors, i64 colors_stride_n, i64 colors_stride_k,
               const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays, i64 n_channels,
               float early_stop, float* rgb, float* alpha, float* depth, float* weights, int n_threads))
// Gradients to densities [S] and colors [S, C] (nullptr: not wanted) from those of the four outputs (nullptr: zero).
// grad_rgb is row-major [R, C]. Of the outputs only samples that a ray owns are written.
NEURAL_KERNEL(void, composite_backward,
              (const float* densities, const float* colors, i64 colors_stride_n, i64 colors_stride_k,
               const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays, i64 n_channels,
               float early_stop, const float* weights, const float* grad_rgb, const float* grad_alpha,
               const float* grad_depth, const float* grad_weights, float* grad_densities, float* grad_colors,
               i64 gc_stride_n, i64 gc_stride_k, int n_threads))
