// CPU kernels that march, evaluate and composite a field in one pass, block by block. Stages: field_block.h and
// stages.py; rays, grid and settings: ray_march.h; Python face: fused.py.
//
// What a sample needs lives in blocks of the threads' own, whose size depends on the field and not on the batch; only
// results per ray are written. `stages` int64 [n_stages, 16] work on `n_rows` rows: positions come in rows 0-2,
// directions in rows 3-5. The first n_density stages run on every sample that is looked up and leave the density in
// row `density`; the rest run on what can be seen and leave the colour in rows rgb .. rgb + 2. Rows keep .. keep + n_keep
// pass from the first to the second.
#pragma once
#include "common/entry.h"

// Writes rgb [R, 3] (no background), alpha [R], depth [R] and counts [R, 2]: samples looked up, and those of them in
// front of the early stop; adds to `broken` the number of rays that met a density that is NaN. `spans`, unless null, is
// ray_march_count's: where rays start. A ray is cut into waves by its own samples alone, so it renders the same in any
// company. `group`: rays that a task takes at a time.
NEURAL_KERNEL(void, fused_forward,
              (const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
               i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
               const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
               const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int n_density,
               int density, int rgb_row, int keep, int n_keep, float early_stop, int group, float* rgb, float* alpha,
               float* depth, i64* counts, i64* broken, int n_threads))
// Adds to the gradients that the stages name (of tables, and partial sums of networks to theirs), from those of rgb
// [R, 3], alpha [R] and depth [R] (null: zero). The samples are marched and evaluated again: the first counts[r, 1] of
// each ray. Sums over samples are taken over parts of `part_size` samples (or one ray, if that is more) and added in order;
// the table's over `n_parts` parts at a time, level by level: results do not depend on n_threads.
NEURAL_KERNEL(void, fused_backward,
              (const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
               i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
               const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
               const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int n_density,
               int density, int rgb_row, int keep, int n_keep, const i64* counts, const float* grad_rgb,
               const float* grad_alpha, const float* grad_depth, int part_size, int n_parts, int n_threads))
// A training step: writes what fused_forward does (rgb, alpha and depth only of rays that have visible samples), and adds
// the gradients of the sum over rays and channels of scale * weights[r] * loss(rgb + (1 - alpha) background - target) to
// those that the stages name. loss_kind 0: d^2; 1: d^2 / 2, beyond +-delta straight. target, background [R, 3], weights
// [R] or null. packed_info, spans: ray_march_count's, with the starts. Rays are taken in groups of `group_size` samples of
// the grid (or one ray), `n_groups` at a time, and their visible samples in parts of `part_size`.
NEURAL_KERNEL(void, fused_step,
              (const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
               i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
               const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
               const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int n_density,
               int density, int rgb_row, int keep, int n_keep, float early_stop, const i64* packed_info, int loss_kind,
               float delta, float scale, const float* target, const float* background, const float* weights,
               int group_size, int n_groups, int part_size, float* rgb, float* alpha, float* depth, i64* counts,
               i64* broken, int n_threads))
