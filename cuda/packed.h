// CPU kernels of `packed_info`, the table that says which samples belong to which ray. Python face: packed.py.
// packed_info [R, 2] int64 is (start, count) of each ray's samples; ranges that are not empty ascend in [0, S).
#pragma once
#include "common/entry.h"

// -(ray + 1) of the first ray whose range leaves [0, n_samples) or begins before the end of an earlier one's, otherwise
// the sum of all counts.
NEURAL_KERNEL(i64, packed_info_check, (const i64* packed_info, i64 n_rays, i64 n_samples))
// Fills in the starts: the exclusive sums of the counts, up to the first ray that would pass max_samples; that one and
// those behind it become (samples so far, 0). Writes how many leading rays are kept; returns the number of samples.
NEURAL_KERNEL(i64, packed_info_starts, (i64* packed_info, i64 n_rays, i64 max_samples, i64* n_kept))
