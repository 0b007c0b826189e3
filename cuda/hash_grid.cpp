// Hash grid on the CPU: the corners of a vector of points' cells; the passes are common/lattice_passes.h's.
#include "hash_grid.h"
#include "grid_corners.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

template <int D> struct Corners {
    static constexpr bool kCurved = true;

    int n_vertices(const Grid& g) const { return g.form == grid::kNearest ? 1 : 1 << D; }
    bool flat(const Grid& g) const { return g.form == grid::kNearest; }

    NEURAL_HD vfloat find(const Grid& g, const grid::Level<D>& level, int, i64 n, int count, const Rows* direction,
                          u32* index, float* weight) const {
        Axis axes[D];
        const vfloat scale = locate<D>(g, level, n, count, axes);
        if (g.form == grid::kNearest) {
            put(index, wrap(grid::corner_key<D>(axes, level, 0), level));
            store(weight, grid::corner_weight<D>(axes, 0));
            return scale;
        }
        corner_entries<D>(axes, level, index);
        if (direction) directional_weights<D>(axes, *direction, n, count, weight);
        else corner_weights<D>(axes, weight);
        return scale;
    }
    NEURAL_HD void gradient(const Grid& g, const grid::Level<D>& level, int, i64 n, int count, const Rows* direction,
                            const float* dots, vfloat* sums) const {
        Axis axes[D];
        locate<D>(g, level, n, count, axes);
        corner_gradient<D>(axes, n, count, direction, dots, sums);
    }
};

} // namespace

void hash_grid_forward(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                       const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                       const float* level_weights, int interpolation, int outside, float* features, i64 feat_n,
                       i64 feat_k, int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        forward<D, decltype(f)::value>(Corners<D>{}, g, table, table_dtype, nullptr, {features, feat_n, feat_k}, n_threads);
    });
}

void hash_grid_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
                              const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                              int n_features, const float* level_weights, int interpolation, int outside,
                              float* grad_table, u64* touched, int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_table<D, decltype(f)::value>(Corners<D>{}, g, {grad, grad_n, grad_k}, nullptr, grad_table, touched,
                                              n_threads);
    });
}

void hash_grid_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                                  const float* grad, i64 grad_n, i64 grad_k, const i64* levels, const i64* segments,
                                  i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights,
                                  int interpolation, int outside, float* grad_positions, int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_positions<D, decltype(f)::value>(Corners<D>{}, g, table, table_dtype, {grad, grad_n, grad_k}, nullptr,
                                                  grad_positions, n_threads);
    });
}

void hash_grid_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* grad,
                                 i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k,
                                 const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                                 int n_features, const float* level_weights, int interpolation, int outside,
                                 float* grad_table, float* grad_grad, i64 gg_n, i64 gg_k, float* grad_positions,
                                 int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_backward<D, decltype(f)::value>(Corners<D>{}, g, table, {grad, grad_n, grad_k},
                                                 {direction, dir_n, dir_k}, grad_table, {grad_grad, gg_n, gg_k},
                                                 grad_positions, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
