// CPU kernels that group points by the cell of a scalable grid: a stable counting sort. Maths and the meaning of frame,
// split, margin, keys and values: cell_sort.cuh; Python face: cell_sort.py.
//
// positions [N, D] fp32 by pointer and strides. A point has S slots (a power of two); entry e = S * point + slot.
// A pair is an entry whose cell exists. Points are cut into chunks of cell_sort_chunk() for both kernels.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(i64, cell_sort_chunk, ())
// Writes the cell of every entry (-1 not needed, -2 absent) to cells [N, S], where each cell's pairs begin to segments
// [n_cells + 1], and to starts [n_chunks, n_cells] where those of each chunk begin. Gives the number of pairs.
NEURAL_KERNEL(i64, cell_sort_find,
              (const float* positions, i64 pos_n, i64 pos_k, i64 n_points, int n_dims, const float* frame, int split,
               float margin, const i64* keys, const i32* values, i64 n_slots, const i64* coordinates, i64 n_cells,
               int nearest, i32* cells, i64* starts, i64* segments, int n_threads))
// Sorts the pairs by cell, in the order of entries within a cell: order [P] is the entry of each pair, places [N, S] the
// pair of each entry or -1, local [D, P] the pair's position in its cell. `starts` is used up; places may be cells.
NEURAL_KERNEL(void, cell_sort_place,
              (const float* positions, i64 pos_n, i64 pos_k, i64 n_points, int n_dims, const float* frame, int split,
               float margin, const i64* coordinates, i64 n_cells, const i32* cells, i64 slots_per_point, i64* starts,
               i64 n_pairs, i32* places, i32* order, float* local, int n_threads))
