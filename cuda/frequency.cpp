// Frequency encoding on the CPU: one vector of positions at a time, chunks of rows over threads.
#include "frequency.h"
#include "common/vectors.h"
#include "frequency.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

// sincos_pi for any t: whole turns are taken off first, which is exact.
struct SinCosPi {
    NEURAL_HD void operator()(vfloat t, vfloat& s, vfloat& c) const {
        sincos_pi(t - 2.0f * floor(t * 0.5f + 0.5f), s, c);
    }
};

} // namespace

void frequency_forward(const float* positions, i64 pos_stride_n, i64 pos_stride_k, i64 n, i64 n_dims,
                       i64 n_frequencies, float* out, i64 out_stride_n, i64 out_stride_k, int n_threads) {
    const Rows in{positions, pos_stride_n, pos_stride_k};
    const RowsOut features{out, out_stride_n, out_stride_k};
    for_each_vector(n, n_threads, [&](i64 i, int count) {
        for (i64 d = 0; d < n_dims; ++d)
            frequency::each(in.load_lanes(i, d, count), n_frequencies, SinCosPi{},
                            [&](i64 k, vfloat s, vfloat c, float) {
                features.store_lanes(i, 2 * (d * n_frequencies + k), s, count);
                features.store_lanes(i, 2 * (d * n_frequencies + k) + 1, c, count);
            });
    });
}

void frequency_backward(const float* positions, i64 pos_stride_n, i64 pos_stride_k, const float* grad_out,
                        i64 grad_stride_n, i64 grad_stride_k, i64 n, i64 n_dims, i64 n_frequencies,
                        float* grad_positions, i64 gp_stride_n, i64 gp_stride_k, int n_threads) {
    const Rows in{positions, pos_stride_n, pos_stride_k}, grad{grad_out, grad_stride_n, grad_stride_k};
    const RowsOut result{grad_positions, gp_stride_n, gp_stride_k};
    for_each_vector(n, n_threads, [&](i64 i, int count) {
        for (i64 d = 0; d < n_dims; ++d) {
            vfloat total{};
            frequency::each(in.load_lanes(i, d, count), n_frequencies, SinCosPi{},
                            [&](i64 k, vfloat s, vfloat c, float rate) {
                const i64 at = 2 * (d * n_frequencies + k);
                total += rate * (grad.load_lanes(i, at, count) * c - grad.load_lanes(i, at + 1, count) * s);
            });
            result.store_lanes(i, d, total, count);
        }
    });
}

void frequency_backward_backward(const float* positions, i64 pos_stride_n, i64 pos_stride_k, const float* grad_out,
                                 i64 grad_stride_n, i64 grad_stride_k, const float* second, i64 second_stride_n,
                                 i64 second_stride_k, i64 n, i64 n_dims, i64 n_frequencies, float* grad_grad,
                                 i64 gg_stride_n, i64 gg_stride_k, float* grad_positions, i64 gp_stride_n,
                                 i64 gp_stride_k, int n_threads) {
    const Rows in{positions, pos_stride_n, pos_stride_k}, grad{grad_out, grad_stride_n, grad_stride_k};
    const Rows from{second, second_stride_n, second_stride_k};
    const RowsOut to_grad{grad_grad, gg_stride_n, gg_stride_k}, to_positions{grad_positions, gp_stride_n, gp_stride_k};
    for_each_vector(n, n_threads, [&](i64 i, int count) {
        for (i64 d = 0; d < n_dims; ++d) {
            const vfloat v = from.load_lanes(i, d, count);
            vfloat total{};
            frequency::each(in.load_lanes(i, d, count), n_frequencies, SinCosPi{},
                            [&](i64 k, vfloat s, vfloat c, float rate) {
                const i64 at = 2 * (d * n_frequencies + k);
                to_grad.store_lanes(i, at, rate * v * c, count);
                to_grad.store_lanes(i, at + 1, -rate * v * s, count);
                total -= rate * rate * (grad.load_lanes(i, at, count) * s + grad.load_lanes(i, at + 1, count) * c);
            });
            to_positions.store_lanes(i, d, v * total, count);
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
