// The rate of fused multiply-adds, which no kernel can pass: what benchmarks hold compute-bound ones against.
#pragma once
#include "common/entry.h"

// Runs `iterations` rounds of independent multiply-adds on the calling thread; gives the flop done (2 per lane).
NEURAL_KERNEL(double, fma_peak, (i64 iterations))
