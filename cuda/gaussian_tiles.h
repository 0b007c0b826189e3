// CPU kernels that find and sort the Gaussians of every tile. Maths: gaussian_tiles.cuh; Python face: gaussian_tiles.py.
// N Gaussians: means2d [N, 2], conics [N, 3], extents [N, 2] fp32 in any order with one unit stride, opacities and
// depths fp32 [N]. T tiles of 16x16 pixels row by row. A pair is a Gaussian in a tile that it reaches; pairs by Gaussian,
// then tile, are slots.
#pragma once
#include "common/entry.h"

// Writes starts i64 [N + 1]: Gaussian n has slots starts[n] to starts[n + 1]. Returns the number of pairs.
NEURAL_KERNEL(i64, gaussian_tiles_count,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* extents, i64 e_stride_n, i64 e_stride_k, i64 n,
               i64 width, i64 height, i64* starts, int n_threads))
// Writes offsets i64 [T + 1], and by tile, then depth, then index: gaussians i32 [P] and slots i32 [P].
NEURAL_KERNEL(void, gaussian_tiles_fill,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* depths, const float* extents, i64 e_stride_n,
               i64 e_stride_k, i64 n, i64 width, i64 height, const i64* starts, i64* offsets, i32* gaussians,
               i32* slots, int n_threads))
