// CPU kernels that sort projected Gaussians into the tiles of an image. Maths: gaussian_tiles.cuh; Python face:
// gaussian_tiles.py. Tiles are 16x16 pixels, row by row, T of them; a block is 4x4 pixels, 16 in a tile.
// means2d and extents [N, 2], conics [N, 3] fp32 with strides of n and k, opacities and depths [N] fp32.
#pragma once
#include "common/entry.h"

// Writes starts [N + 1] (i32): Gaussian g meets starts[g + 1] - starts[g] tiles. Returns their number, and leaves starts
// unfinished where it is 2^31 or more.
NEURAL_KERNEL(i64, gaussian_tiles_count,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* extents, i64 e_stride_n, i64 e_stride_k, i64 n,
               i64 width, i64 height, i32* starts, int n_threads))
// Writes offsets [T + 1] (i64), and for each of the P pairs, tile after tile and near to far (ties by index): gaussians
// (i32), masks (u16: bit 4 row + column of the blocks that the Gaussian reaches) and slots (i32: place of the pair among
// those of all Gaussians in order).
NEURAL_KERNEL(void, gaussian_tiles_fill,
              (const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
               i64 c_stride_k, const float* opacities, const float* depths, const float* extents, i64 e_stride_n,
               i64 e_stride_k, i64 n, i64 width, i64 height, const i32* starts, i64* offsets, i32* gaussians,
               u16* masks, i32* slots, int n_threads))
