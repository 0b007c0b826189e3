// CPU kernel of trilinear interpolation in a voxel grid. Maths: trilinear.cuh; Python face: trilinear.py.
// positions [N, 3] fp32 in any order with one unit stride; voxels [nx, ny, nz, n_channels], dense, perhaps a map of a
// file that is larger than memory; dtype 0 fp32, 1 fp64, 2 fp16, 3 u8, 4 u16 (integers stand for [0, 1]).
#pragma once
#include "common/entry.h"

// out[c, n] for n_channels 1 to 4
NEURAL_KERNEL(void, trilinear_forward,
              (const float* positions, i64 pos_stride_n, i64 pos_stride_k, i64 n, const void* voxels, int dtype, i64 nx,
               i64 ny, i64 nz, int n_channels, float scale, float* out, int n_threads))
