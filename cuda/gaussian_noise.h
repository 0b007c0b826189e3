// CPU kernel of the noise on Gaussians' centres. Formulas: gaussian_noise.cuh; Python face: gaussian_noise.py.
#pragma once
#include "common/entry.h"

// means[i] += displacement of row i, i < n; contiguous fp32: means [n, 3], quats [n, 4], log_scales [n, 3], logits [n].
// Row i draws from Philox block i of (seed, stream, step); rows too opaque to move are not written.
NEURAL_KERNEL(void, gaussian_noise,
              (float* means, const float* quats, const float* log_scales, const float* logits, i64 n, float strength,
               u64 seed, u32 step, int n_threads))
