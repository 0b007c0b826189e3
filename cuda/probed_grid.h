// CPU kernels of the hash grid with learned probing. Maths: probed_grid.cuh; Python face: probed_grid.py.
//
// As in hash_grid.h, with one sub-table, an fp32 table and D = 1..4. The last n_books levels are hashed and probed, each
// by a codebook of 2^log2_codes codes below 2^log2_probes: codes u8 [n_books, 2^log2_codes] are what lookups follow,
// probabilities fp32 [n_books, 2^log2_codes, 2^log2_probes] what gradients flow through.
#pragma once
#include "common/entry.h"

NEURAL_KERNEL(void, probed_grid_forward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes, i64 n_points,
               const i64* levels, int n_levels, int n_dims, int n_features, int n_books, int log2_codes,
               int log2_probes, const float* level_weights, int interpolation, int outside, float* features, i64 feat_n,
               i64 feat_k, int n_threads))
// Gradients as if each corner's entry were the mean of its block by the probabilities: adds to grad_table [entries, F] and
// grad_probabilities; touched as in hash_grid_backward_table. With direction [N, D], those of <grad_positions, direction>.
NEURAL_KERNEL(void, probed_grid_backward_table,
              (const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* probabilities,
               const float* grad, i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k, i64 n_points,
               const i64* levels, int n_levels, int n_dims, int n_features, int n_books, int log2_codes,
               int log2_probes, const float* level_weights, int interpolation, int outside, float* grad_table,
               u64* touched, float* grad_probabilities, int n_threads))
// Writes grad_positions fp32 [N, D], row-major, of the entries that the codes choose.
NEURAL_KERNEL(void, probed_grid_backward_positions,
              (const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes, const float* grad,
               i64 grad_n, i64 grad_k, i64 n_points, const i64* levels, int n_levels, int n_dims, int n_features,
               int n_books, int log2_codes, int log2_probes, const float* level_weights, int interpolation, int outside,
               float* grad_positions, int n_threads))
// For s = <grad_positions, direction>: writes ds/dgrad to grad_grad (features' layout), ds/dpositions to grad_positions.
NEURAL_KERNEL(void, probed_grid_backward_backward,
              (const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes, const float* grad,
               i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k, i64 n_points, const i64* levels,
               int n_levels, int n_dims, int n_features, int n_books, int log2_codes, int log2_probes,
               const float* level_weights, int interpolation, int outside, float* grad_grad, i64 gg_n, i64 gg_k,
               float* grad_positions, int n_threads))
