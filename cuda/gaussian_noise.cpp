// Noise on Gaussians' centres on the CPU: of each chunk of rows, those that move are packed into lanes.
#include "gaussian_noise.h"
#include "common/simd.h"
#include "common/threads.h"
#include "gaussian_noise.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 2048; // rows per task

struct Machine {
    NEURAL_HD vfloat exp(vfloat v) const { return NEURAL_ISA::exp(v); }
    NEURAL_HD vfloat log(vfloat v) const { return NEURAL_ISA::log(v); }
    NEURAL_HD vfloat sqrt(vfloat v) const { return NEURAL_ISA::sqrt(v); }
    NEURAL_HD void sincos_pi(vfloat t, vfloat& s, vfloat& c) const { NEURAL_ISA::sincos_pi(t, s, c); }
};

// The rows that move, in order, then the first of them again until whole vectors are full; how many move.
int packed_rows(const float* logits, i64 begin, i64 end, i64* rows) {
    int count = 0;
    for (i64 i = begin; i < end; ++i) {
        rows[count] = i;
        count += noise::moves(logits[i]);
    }
    for (int i = count; i % kWidth != 0; ++i) rows[i] = rows[0];
    return count;
}

void move(const i64* rows, int count, float* means, const float* quats, const float* log_scales, const float* logits,
          float strength, u64 seed, u32 step) {
    float words[4][kWidth], quat[4][kWidth], scale[3][kWidth], logit[kWidth];
    for (int lane = 0; lane < kWidth; ++lane) {
        const i64 row = rows[lane];
        const philox::Words block = philox::block(seed, noise::kStream, step, u64(row));
        for (int k = 0; k < 4; ++k) words[k][lane] = philox::uniform(block.w[k]);
        for (int k = 0; k < 4; ++k) quat[k][lane] = quats[4 * row + k];
        for (int k = 0; k < 3; ++k) scale[k][lane] = log_scales[3 * row + k];
        logit[lane] = logits[row];
    }
    vfloat q[4], s[3], u[4], d[3];
    for (int k = 0; k < 4; ++k) q[k] = load(quat[k]), u[k] = load(words[k]);
    for (int k = 0; k < 3; ++k) s[k] = load(scale[k]);
    noise::displacement(q, s, load(logit), u, strength, Machine{}, d);
    const vfloat length2 = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
    const vint sound = length2 > noise::kShortest;
    for (int k = 0; k < 3; ++k) {
        float moved[kWidth];
        store(moved, sound ? d[k] : splat(0.0f));
        for (int lane = 0; lane < count; ++lane) means[3 * rows[lane] + k] += moved[lane];
    }
}

} // namespace

void gaussian_noise(float* means, const float* quats, const float* log_scales, const float* logits, i64 n,
                    float strength, u64 seed, u32 step, int n_threads) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        i64 rows[kChunk + kWidth];
        const i64 begin = chunk * kChunk, end = n < begin + kChunk ? n : begin + kChunk;
        const int count = packed_rows(logits, begin, end, rows);
        for (int at = 0; at < count; at += kWidth)
            move(rows + at, count - at < kWidth ? count - at : kWidth, means, quats, log_scales, logits, strength, seed,
                 step);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
