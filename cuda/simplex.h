// CPU kernels of the simplex encoding. Maths: simplex.cuh; Python face: simplex.py.
//
// Buffers are those of hash_grid.h: positions [N, D], D = 1..7, and features [N, L*F], F = 1, 2, 4 or 8, are fp32
// matrices given by pointer, stride of n, stride of k; table [entries, F]; `levels` int64 [n_tables, L, 4 + 3 D] (rows
// as in common/level.cuh); `segments` int64 [n_tables + 1]; `level_weights` fp32 [L] or null.
// lattice: 0 skewed, 1 Kuhn, 2 permutohedral. outside: 0 wrap, 1 clamp, 2 zero.
#pragma once
#include "common/entry.h"

// features[n, l*F + f]; table_dtype: 0 fp32, 1 fp16, 2 bf16
NEURAL_KERNEL(void, simplex_forward,
              (const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype, const i64* levels,
               const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights,
               int lattice, int outside, float* features, i64 feat_n, i64 feat_k, int n_threads))
// Adds to grad_table fp32 [entries, F]. touched: one bit per 64 entries (64-bit words) is set where not null.
NEURAL_KERNEL(void, simplex_backward_table,
              (const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
               const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
               const float* level_weights, int lattice, int outside, float* grad_table, u64* touched, int n_threads))
// Writes grad_positions fp32 [N, D], row-major.
NEURAL_KERNEL(void, simplex_backward_positions,
              (const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype, const float* grad,
               i64 grad_n, i64 grad_k, const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
               int n_features, const float* level_weights, int lattice, int outside, float* grad_positions,
               int n_threads))
// For s = <grad_positions, direction>, direction [N, D]: adds ds/dtable to grad_table and writes ds/dgrad to grad_grad
// (features' layout); either may be null. ds/dpositions is 0 but on the simplices' faces, where there is none.
NEURAL_KERNEL(void, simplex_backward_backward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* grad, i64 grad_n,
               i64 grad_k, const float* direction, i64 dir_n, i64 dir_k, const i64* levels, const i64* segments,
               i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights, int lattice,
               int outside, float* grad_table, float* grad_grad, i64 gg_n, i64 gg_k, int n_threads))
