// Metric maps on the CPU: one vector of positions at a time, chunks of rows over threads.
#include "metric_maps.h"
#include "common/features.h"
#include "common/threads.h"
#include "metric_maps.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

using metric_maps::kRadiance;
using metric_maps::kSignal;

constexpr i64 kChunk = 4096; // rows per task

struct Math {
    static NEURAL_HD void sincos(vfloat v, vfloat& s, vfloat& c) { NEURAL_ISA::sincos(v, s, c); }
    static NEURAL_HD vfloat sqrt(vfloat v) { return NEURAL_ISA::sqrt(v); }
    // Cephes' polynomial on |v| <= 1/2; beyond, arcsin v = pi/2 - 2 arcsin sqrt((1 - v) / 2).
    static NEURAL_HD vfloat asin(vfloat v) {
        const vfloat a = abs(v);
        const vint far = a > 0.5f;
        const vfloat z = far ? 0.5f * (1.0f - a) : a * a;
        const vfloat r = far ? NEURAL_ISA::sqrt(z) : a;
        vfloat p = splat(4.2163199048e-2f);
        p = p * z + 2.4181311049e-2f;
        p = p * z + 4.5470025998e-2f;
        p = p * z + 7.4953002686e-2f;
        p = p * z + 1.6666752422e-1f;
        p = p * z * r + r;
        p = far ? 1.57079632679489662f - 2.0f * p : p;
        return v < 0.0f ? -p : p;
    }
};

// Calls task(i, d, count) for each vector of coordinates.
template <class Task> void for_each_vector(i64 n, i64 n_dims, int n_threads, const Task& task) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 d = 0; d < n_dims; ++d)
            for (i64 i = chunk * kChunk; i < end; i += kWidth) task(i, d, end - i < kWidth ? int(end - i) : kWidth);
    });
}

template <class Visit> NEURAL_HD void each(int kind, vfloat x, const Visit& visit) {
    if (kind == kSignal) metric_maps::each<kSignal, Math>(x, visit);
    else metric_maps::each<kRadiance, Math>(x, visit);
}

} // namespace

void metric_maps_forward(const float* positions, i64 pos_n, i64 pos_k, i64 n, i64 n_dims, int kind, float* out,
                         i64 out_n, i64 out_k, int n_threads) {
    const Rows in{positions, pos_n, pos_k};
    const RowsOut maps{out, out_n, out_k};
    for_each_vector(n, n_dims, n_threads, [&](i64 i, i64 d, int count) {
        each(kind, in.load_lanes(i, d, count),
             [&](i64 k, auto jet) { maps.store_lanes(k * n + i, d, jet.value, count); });
    });
}

void metric_maps_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad_out, i64 go_n, i64 go_k,
                          i64 n, i64 n_dims, int kind, float* grad_positions, i64 gp_n, i64 gp_k, int n_threads) {
    const Rows in{positions, pos_n, pos_k}, grad{grad_out, go_n, go_k};
    const RowsOut result{grad_positions, gp_n, gp_k};
    for_each_vector(n, n_dims, n_threads, [&](i64 i, i64 d, int count) {
        vfloat total{};
        each(kind, in.load_lanes(i, d, count),
             [&](i64 k, auto jet) { total += grad.load_lanes(k * n + i, d, count) * jet.first; });
        result.store_lanes(i, d, total, count);
    });
}

void metric_maps_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad_out, i64 go_n,
                                   i64 go_k, const float* second, i64 second_n, i64 second_k, i64 n, i64 n_dims,
                                   int kind, float* to_grad, i64 tg_n, i64 tg_k, float* to_positions, i64 tp_n,
                                   i64 tp_k, int n_threads) {
    const Rows in{positions, pos_n, pos_k}, grad{grad_out, go_n, go_k}, above{second, second_n, second_k};
    const RowsOut to_upstream{to_grad, tg_n, tg_k}, result{to_positions, tp_n, tp_k};
    for_each_vector(n, n_dims, n_threads, [&](i64 i, i64 d, int count) {
        const vfloat along = above.load_lanes(i, d, count);
        vfloat total{};
        each(kind, in.load_lanes(i, d, count), [&](i64 k, auto jet) {
            total += grad.load_lanes(k * n + i, d, count) * jet.second;
            to_upstream.store_lanes(k * n + i, d, along * jet.first, count);
        });
        result.store_lanes(i, d, along * total, count);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
