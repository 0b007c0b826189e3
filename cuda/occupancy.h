// CPU kernels of the occupancy grid. Maths: occupancy.cuh; Python face: occupancy.py.
// thickness fp32 [n_cascades, resolution^3] in Morton order: optical thickness of a cell at the minimum step, -1 where
// no camera sees it. bitfield u8 [n_cascades, resolution^3 / 8]: bit b of byte i is cell 8 i + b.
#pragma once
#include "common/entry.h"

// positions[i, j] = axis i of a point in cell cells[j], drawn with (seed, step, cell); positions [3, n], world units.
NEURAL_KERNEL(void, occupancy_points,
              (const i64* cells, i64 n, u64 seed, u32 step, int resolution, float centre_x, float centre_y,
               float centre_z, float half_extent, float* positions, int n_threads))
// thickness = max(decay * thickness, value of its cell) except where it is negative. `cells` [n] may name a cell twice;
// null: values [n_cells] holds one for every cell. A NaN counts as no value.
NEURAL_KERNEL(void, occupancy_update,
              (float* thickness, i64 n_cells, const i64* cells, const float* values, i64 n, float decay, int n_threads))
// Mean of the cells that are not negative, 0 if there is none: chunks of occupancy::kChunk, added in order.
NEURAL_KERNEL(float, occupancy_mean, (const float* thickness, i64 n_cells, int n_threads))
// bit = thickness > *threshold, n_cells a multiple of 8; then every cascade's bits are set where the next finer one,
// the cube in its middle, has any.
NEURAL_KERNEL(void, occupancy_pack,
              (const float* thickness, const float* threshold, int n_cascades, int resolution, u8* bitfield,
               int n_threads))
