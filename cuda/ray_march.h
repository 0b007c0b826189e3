// CPU kernels of ray marching through a cascaded occupancy grid. Maths: ray_march.cuh; Python face: ray_march.py.
// origins, directions [R, 3] fp32 in any order with one unit stride; t_min, t_max [R]; jitter [R] or null (zeros);
// settings [march::kSettings] fp32; bitfield u8 [n_cascades, resolution^3 / 8] in Morton order.
#pragma once
#include "common/entry.h"

// packed_info[r] = (0, samples of ray r), for packed_info_starts; spans[r] = first sample's lattice index, spans[n + r] = last one's plus 1 (0, 0 if none).
NEURAL_KERNEL(void, ray_march_count,
              (const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
               i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
               const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
               const u8* bitfield, i64* packed_info, float* spans, int n_threads))
// Writes the samples of ray r to [start, start + count) of t_starts, t_ends, ray_indices; packed_info[r] = (start, count)
// with the counts of ray_march_count, or 0 for rays that are left out.
NEURAL_KERNEL(void, ray_march_write,
              (const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
               i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
               const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
               const u8* bitfield, const float* spans, const i64* packed_info, float* t_starts, float* t_ends,
               i64* ray_indices, int n_threads))
