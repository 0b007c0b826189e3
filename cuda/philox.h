// CPU kernel of Philox random numbers. Maths: common/philox.cuh; Python face: philox.py.
#pragma once
#include "common/entry.h"

// out[i, w] = uniform(word w of block i), i < n, w < words <= 4, at out[i * stride_n + w * stride_w]
NEURAL_KERNEL(void, philox_uniform,
              (u64 seed, u32 stream, u32 step, i64 n, int words, float* out, i64 stride_n, i64 stride_w, int n_threads))
