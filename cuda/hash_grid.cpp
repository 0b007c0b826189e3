// Hash grid on the CPU, a vector of points at a time; the order of work is common/lattice.h's.
#include "hash_grid.h"
#include "common/gather.h"
#include "common/lattice.h"
#include "hash_grid.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

typedef grid::Axis<vfloat, vuint> Axis;
template <int D> constexpr int kCorners = 1 << D;

// A vector of points in one level: its axes, and per lane 0 where the point counts as outside (mode zero).
template <int D> NEURAL_HD vfloat locate(const Grid& g, const grid::Level<D>& level, i64 n, int count, Axis* axes) {
    vfloat valid = splat(1.0f), inside;
    const auto at = [](vfloat p, vuint& cell) { return whole(p, cell); };
    for (int d = 0; d < D; ++d) {
        const vfloat x = read_axis(g, n, d, count, inside, valid);
        const float scale = level.scale[d], shift = level.shift[d];
        if (g.form == grid::kLinear) axes[d] = grid::locate<grid::kLinear, vfloat, vuint>(x, scale, shift, inside, at);
        else if (g.form == grid::kSmoothstep)
            axes[d] = grid::locate<grid::kSmoothstep, vfloat, vuint>(x, scale, shift, inside, at);
        else axes[d] = grid::locate<grid::kNearest, vfloat, vuint>(x, scale, shift, inside, at);
    }
    return valid;
}

template <int D, int F> void forward(const Grid& g, const void* table, int dtype, RowsOut features, int n_threads) {
    by_levels<D, F>(g, table, dtype, kCorners<D>, features, n_threads,
                    [&](int l, const Span& span, const char* base) {
        const auto level = g.level<D>(span.table, l);
        const float weight = g.weight(l);
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
            vfloat sum[F] = {};
            const int corners = g.form == grid::kNearest ? 1 : kCorners<D>;
            NEURAL_UNROLL
            for (int c = 0; c < corners; ++c) {
                vfloat entry[F];
                gather_entries<F>(base, dtype, wrap(grid::corner_key<D>(axes, level, c), level), entry);
                const vfloat w = grid::corner_weight<D>(axes, c);
                for (int f = 0; f < F; ++f) sum[f] = sum[f] + w * entry[f];
            }
            for (int f = 0; f < F; ++f) features.store_lanes(n, l * F + f, sum[f] * scale, count);
        }
    });
}

// Adds sum over corners of coefficient(axes, corner, lanes) * grad to the table.
template <int D, int F, class Coefficient>
void add_to_table(const Grid& g, Rows grad, float* grad_table, u64* touched, int n_threads, const Coefficient& coefficient) {
    by_owners<D, F>(g, grad_table, touched, kCorners<D>, n_threads,
                    [&](int l, const Span& span, float* base, Marks& marks) {
        const auto level = g.level<D>(span.table, l);
        const float weight = g.weight(l);
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
            vfloat up[F];
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale; // 0 past the end
            const int corners = g.form == grid::kNearest ? 1 : kCorners<D>;
            NEURAL_UNROLL
            for (int c = 0; c < corners; ++c) {
                const vuint index = wrap(grid::corner_key<D>(axes, level, c), level);
                const vfloat w = coefficient(axes, c, n, count);
                vfloat add[F];
                for (int f = 0; f < F; ++f) add[f] = w * up[f];
                scatter_add_entries<F>(base, index, add);
                if (marks.blocks) marks.add(index, level.offset, count);
            }
        }
    });
}

template <int D, int F>
void backward_positions(const Grid& g, const void* table, int dtype, Rows grad, float* grad_positions, int n_threads) {
    by_chunks<D>(g, grad_positions, n_threads,
                 [&](int l, const Span& span, vfloat* sums) {
        if (g.form == grid::kNearest) return; // piecewise constant
        const auto level = g.level<D>(span.table, l);
        const char* base = (const char*)table + level.offset * F * (dtype == 0 ? 4 : 2);
        for (i64 n = span.first; n < span.last; n += kWidth, sums += D) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * g.weight(l);
            vfloat up[F];
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
            NEURAL_UNROLL
            for (int c = 0; c < kCorners<D>; ++c) {
                vfloat entry[F];
                gather_entries<F>(base, dtype, wrap(grid::corner_key<D>(axes, level, c), level), entry);
                vfloat dot = up[0] * entry[0];
                for (int f = 1; f < F; ++f) dot = dot + up[f] * entry[f];
                grid::add_weight_gradient<D>(axes, c, dot, sums);
            }
        }
    });
}

template <int D, int F>
void backward_backward(const Grid& g, const float* table, Rows grad, Rows direction, float* grad_table, RowsOut grad_grad,
                       float* grad_positions, int n_threads) {
    const auto along = [&](i64 n, int count, vfloat* v) {
        for (int d = 0; d < D; ++d) v[d] = direction.load_lanes(n, d, count);
    };
    const bool flat = g.form == grid::kNearest;
    if (grad_table && !flat)
        add_to_table<D, F>(g, grad, grad_table, nullptr, n_threads, [&](const Axis* axes, int c, i64 n, int count) {
            vfloat v[D];
            along(n, count, v);
            return grid::directional<D>(axes, c, v);
        });
    if (!grad_grad.data && !grad_positions) return;
    by_chunks<D>(g, grad_positions, n_threads,
                 [&](int l, const Span& span, vfloat* sums) {
        const auto level = g.level<D>(span.table, l);
        const float* base = table + level.offset * F;
        for (i64 n = span.first; n < span.last; n += kWidth, sums += D) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * g.weight(l);
            vfloat v[D], up[F], gg[F] = {};
            along(n, count, v);
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
            for (int c = 0; c < (flat ? 0 : kCorners<D>); ++c) {
                vfloat entry[F];
                gather_entries<F>(base, 0, wrap(grid::corner_key<D>(axes, level, c), level), entry);
                const vfloat s = grid::directional<D>(axes, c, v);
                vfloat dot{};
                for (int f = 0; f < F; ++f) {
                    gg[f] = gg[f] + s * entry[f];
                    dot = dot + up[f] * entry[f];
                }
                if (grad_positions) grid::add_directional_gradient<D>(axes, c, v, dot, sums);
            }
            if (grad_grad.data)
                for (int f = 0; f < F; ++f) grad_grad.store_lanes(n, l * F + f, gg[f] * scale, count);
        }
    });
    if (grad_grad.data) clear_skipped<F>(g, grad_grad);
}

} // namespace

void hash_grid_forward(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                       const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                       const float* level_weights, int interpolation, int outside, float* features, i64 feat_n,
                       i64 feat_k, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        forward<decltype(d)::value, decltype(f)::value>(g, table, table_dtype, {features, feat_n, feat_k}, n_threads);
    });
}

void hash_grid_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
                              const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                              int n_features, const float* level_weights, int interpolation, int outside,
                              float* grad_table, u64* touched, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        add_to_table<D, decltype(f)::value>(
            g, {grad, grad_n, grad_k}, grad_table, touched, n_threads,
            [](const Axis* axes, int c, i64, int) { return grid::corner_weight<D>(axes, c); });
    });
}

void hash_grid_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                                  const float* grad, i64 grad_n, i64 grad_k, const i64* levels, const i64* segments,
                                  i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights,
                                  int interpolation, int outside, float* grad_positions, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_positions<decltype(d)::value, decltype(f)::value>(g, table, table_dtype, {grad, grad_n, grad_k},
                                                                   grad_positions, n_threads);
    });
}

void hash_grid_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* grad,
                                 i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k,
                                 const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                                 int n_features, const float* level_weights, int interpolation, int outside,
                                 float* grad_table, float* grad_grad, i64 gg_n, i64 gg_k, float* grad_positions,
                                 int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_backward<decltype(d)::value, decltype(f)::value>(g, table, {grad, grad_n, grad_k},
                                                                  {direction, dir_n, dir_k}, grad_table,
                                                                  {grad_grad, gg_n, gg_k}, grad_positions, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
