// Gaussians' parameters as CPU kernels of projections read and write them, and how they sum a camera's gradient.
#pragma once
#include "common/interleave.h"
#include "common/threads.h"
#include "gaussian_projection.cuh"

namespace neural {
namespace NEURAL_ISA {

constexpr i64 kProjectionChunk = 2048; // rows per task
constexpr int kSums = 16;                // gradients of rotation, translation, intrinsics

struct ProjectionMachine {
    NEURAL_HD vfloat exp(vfloat v) const { return NEURAL_ISA::exp(v); }
    NEURAL_HD vfloat log(vfloat v) const { return NEURAL_ISA::log(v); }
    NEURAL_HD vfloat sqrt(vfloat v) const { return NEURAL_ISA::sqrt(v); }
    NEURAL_HD vfloat clamp(vfloat v, float low, float high) const {
        return v < low ? splat(low) : (v > high ? splat(high) : v);
    }
    NEURAL_HD vfloat choose(vint mask, vfloat a, vfloat b) const { return mask ? a : b; }
};

struct GaussianRows { // row-major
    const float *means, *quats, *log_scales, *logits;
};
struct GaussianLanes { // kWidth of them
    vfloat mean[3], quat[4], log_scale[3], logit;
};

NEURAL_HD GaussianLanes read(const GaussianRows& p, i64 i, int count) {
    GaussianLanes g;
    load_rows(p.means + 3 * i, count, g.mean);
    load_rows(p.quats + 4 * i, count, g.quat);
    load_rows(p.log_scales + 3 * i, count, g.log_scale);
    g.logit = load_first(p.logits + i, count);
    return g;
}

struct GaussianRowsOut {
    float *means, *quats, *log_scales, *logits, *camera;
};

// The camera's gradient from those of the chunks, in their order.
inline void add_chunks(const float* sums, i64 n_chunks, float* camera) {
    for (int r = 0; r < kSums; ++r) {
        double sum = 0.0;
        for (i64 chunk = 0; chunk < n_chunks; ++chunk) sum += sums[chunk * kSums + r];
        camera[r] = float(sum);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
