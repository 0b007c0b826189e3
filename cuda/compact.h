// CPU kernels that drop the samples which cannot be seen before the colour network runs. Opacity: composite.cuh;
// Python face: compact.py. Packed arrays as in composite.h; `indices` are ascending sample numbers.
#pragma once
#include "common/entry.h"

// mask[s] = 1 where the sample is in front of the stop (T >= early_stop) and alpha >= min_alpha; compacted[r] = (unset,
// how many), for packed_info_starts. Samples that no ray owns keep what mask holds.
NEURAL_KERNEL(void, visible_mark,
              (const float* densities, const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays,
               float early_stop, float min_alpha, u8* mask, i64* compacted, int n_threads))
// Writes the numbers of each ray's marked samples from indices[compacted[2 r]] on.
NEURAL_KERNEL(void, visible_fill,
              (const u8* mask, const i64* packed_info, const i64* compacted, i64 n_rays, i64* indices, int n_threads))
// 1 if the indices strictly ascend within 0 .. n_samples-1, else 0
NEURAL_KERNEL(i64, compact_check, (const i64* indices, i64 n_kept, i64 n_samples))
// t_starts, t_ends, ray_indices: out[m] = in[indices[m]]
NEURAL_KERNEL(void, compact_samples,
              (const i64* indices, i64 n_kept, const float* t_starts, const float* t_ends, const i64* ray_indices,
               float* t_starts_out, float* t_ends_out, i64* ray_indices_out, int n_threads))
// out[m, k] = features[indices[m], k] for n_features columns
NEURAL_KERNEL(void, compact_gather,
              (const i64* indices, i64 n_kept, const float* features, i64 stride_n, i64 stride_k, i64 n_features,
               float* out, i64 out_stride_n, i64 out_stride_k, int n_threads))
// out[indices[m], k] = features[m, k], and 0 in all other rows of out [n_samples, n_features]
NEURAL_KERNEL(void, compact_scatter,
              (const i64* indices, i64 n_kept, const float* features, i64 stride_n, i64 stride_k, i64 n_features,
               i64 n_samples, float* out, i64 out_stride_n, i64 out_stride_k, int n_threads))
