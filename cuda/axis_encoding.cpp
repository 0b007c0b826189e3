// Encodings of single coordinates on the CPU: one vector of positions at a time, chunks of rows over threads.
#include "axis_encoding.h"
#include "axis_encoding.cuh"
#include "common/vectors.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

struct Floor {
    NEURAL_HD vfloat operator()(vfloat t) const { return floor(t); }
};

// Calls task(Constant<kind>, i, count) for each vector of rows.
template <class Task> void for_each_vector_of(int kind, i64 n, int n_threads, const Task& task) {
    for_each_vector(n, n_threads, [&](i64 i, int count) {
        if (kind == axis::kTriangleWave) task(Constant<axis::kTriangleWave>{}, i, count);
        else task(Constant<axis::kOneBlob>{}, i, count);
    });
}

} // namespace

void axis_encoding_forward(const float* positions, i64 pos_n, i64 pos_k, i64 n, i64 n_dims, int kind, i64 n_per_axis,
                           float* out, i64 out_n, i64 out_k, int n_threads) {
    const Rows in{positions, pos_n, pos_k};
    const RowsOut features{out, out_n, out_k};
    for_each_vector_of(kind, n, n_threads, [&](auto k_, i64 i, int count) {
        constexpr int Kind = decltype(k_)::value;
        for (i64 d = 0; d < n_dims; ++d)
            axis::each<Kind>(in.load_lanes(i, d, count), n_per_axis, Floor{}, [&](i64 k, vfloat value, vfloat, vfloat) {
                features.store_lanes(i, d * n_per_axis + k, value, count);
            });
    });
}

void axis_encoding_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
                            i64 n, i64 n_dims, int kind, i64 n_per_axis, float* grad_positions, i64 gp_n, i64 gp_k,
                            int n_threads) {
    const Rows in{positions, pos_n, pos_k}, up{grad, grad_n, grad_k};
    const RowsOut result{grad_positions, gp_n, gp_k};
    for_each_vector_of(kind, n, n_threads, [&](auto k_, i64 i, int count) {
        constexpr int Kind = decltype(k_)::value;
        for (i64 d = 0; d < n_dims; ++d) {
            vfloat total{};
            axis::each<Kind>(in.load_lanes(i, d, count), n_per_axis, Floor{}, [&](i64 k, vfloat, vfloat slope, vfloat) {
                total += slope * up.load_lanes(i, d * n_per_axis + k, count);
            });
            result.store_lanes(i, d, total, count);
        }
    });
}

void axis_encoding_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n,
                                     i64 grad_k, const float* second, i64 second_n, i64 second_k, i64 n, i64 n_dims,
                                     int kind, i64 n_per_axis, float* grad_grad, i64 gg_n, i64 gg_k,
                                     float* grad_positions, i64 gp_n, i64 gp_k, int n_threads) {
    const Rows in{positions, pos_n, pos_k}, up{grad, grad_n, grad_k}, from{second, second_n, second_k};
    const RowsOut to_grad{grad_grad, gg_n, gg_k}, to_positions{grad_positions, gp_n, gp_k};
    for_each_vector_of(kind, n, n_threads, [&](auto k_, i64 i, int count) {
        constexpr int Kind = decltype(k_)::value;
        for (i64 d = 0; d < n_dims; ++d) {
            const vfloat v = from.load_lanes(i, d, count);
            vfloat total{};
            axis::each<Kind>(in.load_lanes(i, d, count), n_per_axis, Floor{},
                             [&](i64 k, vfloat, vfloat slope, vfloat bend) {
                const i64 at = d * n_per_axis + k;
                to_grad.store_lanes(i, at, slope * v, count);
                total += bend * up.load_lanes(i, at, count);
            });
            to_positions.store_lanes(i, d, v * total, count);
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
