// A [N, K] matrix of fp32 in either order, and how a block of its rows gets into feature-major form.
// Ops keep features as [K, N] and hand out the transposed view; a caller may give rows as [N, K] all the same.
#pragma once
#include "simd.h"

namespace neural {
namespace NEURAL_ISA {

// Lanes of the vector of points that begins at n.
NEURAL_HD int lanes(i64 n, i64 end) { return end - n < kWidth ? int(end - n) : kWidth; }

struct Rows {
    const float* data;
    i64 stride_n, stride_k; // in floats; one of them is 1 where N and K are above 1

    // Lanes n .. n+count-1 of column k.
    NEURAL_HD vfloat load_lanes(i64 n, i64 k, int count) const {
        const float* p = data + n * stride_n + k * stride_k;
        return stride_n == 1 ? load(p, count) : load_strided(p, stride_n, count);
    }
};

struct RowsOut {
    float* data;
    i64 stride_n, stride_k;

    NEURAL_HD void store_lanes(i64 n, i64 k, vfloat v, int count) const {
        float* p = data + n * stride_n + k * stride_k;
        if (stride_n == 1) store(p, v, count);
        else store_strided(p, stride_n, v, count);
    }
};

} // namespace NEURAL_ISA
} // namespace neural
