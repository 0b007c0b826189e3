// Simplex encoding on the CPU: the simplices of a vector of points; the passes are common/lattice_passes.h's.
#include "simplex.h"
#include "common/lattice_passes.h"
#include "common/mask.h"
#include "simplex.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

struct Lanes {
    typedef vfloat V;
    typedef vuint U;
    typedef vmask Mask;
    static NEURAL_HD Mask above(V a, V b) { return neural::NEURAL_ISA::above(a, b); }
    static NEURAL_HD V select(Mask m, V a, V b) { return neural::NEURAL_ISA::select(m, a, b); }
    static NEURAL_HD U select(Mask m, U a, U b) { return (U)neural::NEURAL_ISA::select(m, (V)a, (V)b); }
    static NEURAL_HD V at_least_zero(V v) { return max(v, V{}); } // 0 for NaN
    static NEURAL_HD V whole(V q, U& cell) { return neural::NEURAL_ISA::whole(q, cell); }
};
template <int D> using Place = simplex::Place<Lanes, D>;

// The simplices of a vector of points in one level, and what their results are multiplied by: 0 where a point counts as
// outside (mode zero), NaN where one is not finite. slopes[d] is dp_d/dx_d.
template <int D>
NEURAL_HD Place<D> locate(const Grid& g, const grid::Level<D>& level, i64 n, int count, vfloat& scale, vfloat* slopes) {
    vfloat q[D];
    vfloat valid = splat(1.0f), sum{};
    NEURAL_UNROLL
    for (int d = 0; d < D; ++d) {
        vfloat inside;
        q[d] = read_axis(g, n, d, count, inside, valid) * level.scale[d] + level.shift[d];
        slopes[d] = inside * level.scale[d];
        sum = sum + q[d];
    }
    scale = valid + sum * 0.0f;
    simplex::to_lattice<D>(g.form, q);
    return simplex::locate<Lanes, D>(q, level);
}

template <int D> struct Simplices {
    static constexpr bool kCurved = false;

    int n_vertices(const Grid&) const { return D + 1; }
    bool flat(const Grid&) const { return false; }

    // Vertices in the walk's order.
    NEURAL_HD vfloat find(const Grid& g, const grid::Level<D>& level, int, i64 n, int count, const Rows* direction,
                          u32* index, float* weight) const {
        vfloat scale, slopes[D];
        const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
        vuint key = place.key;
        put(index, wrap(key, level));
        NEURAL_UNROLL
        for (int k = 0; k < D; ++k) {
            key = level.hashed ? key ^ place.step[k] : key + place.step[k];
            put(index + (k + 1) * kWidth, wrap(key, level));
        }
        const vfloat* sorted = place.fraction;
        vfloat v[D];
        if (direction) { // the derivatives of q along it, in the fractions' order
            for (int d = 0; d < D; ++d) v[d] = direction->load_lanes(n, d, count) * slopes[d];
            simplex::to_lattice<D>(g.form, v);
            simplex::permute<Lanes, D>(v, place.swaps);
            sorted = v;
        }
        NEURAL_UNROLL
        for (int k = 0; k <= D; ++k) store(weight + k * kWidth, simplex::weight<D>(sorted, k, direction ? 0.0f : 1.0f));
        return scale;
    }
    NEURAL_HD void gradient(const Grid& g, const grid::Level<D>& level, int, i64 n, int count, const Rows*,
                            const float* dots, vfloat* sums) const {
        vfloat scale, slopes[D], along[D];
        const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
        for (int d = 0; d < D; ++d) along[d] = load(dots + (d + 1) * kWidth) - load(dots + d * kWidth);
        simplex::restore<Lanes, D>(along, place.swaps);
        simplex::from_lattice<D>(g.form, along);
        for (int d = 0; d < D; ++d) sums[d] = sums[d] + along[d] * slopes[d];
    }
};

} // namespace

void simplex_forward(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                     const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                     const float* level_weights, int lattice, int outside, float* features, i64 feat_n, i64 feat_k,
                     int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        forward<D, decltype(f)::value>(Simplices<D>{}, g, table, table_dtype, nullptr, {features, feat_n, feat_k}, n_threads);
    });
}

void simplex_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
                            const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                            int n_features, const float* level_weights, int lattice, int outside, float* grad_table,
                            u64* touched, int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_table<D, decltype(f)::value>(Simplices<D>{}, g, {grad, grad_n, grad_k}, nullptr, grad_table, touched,
                                              n_threads);
    });
}

void simplex_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                                const float* grad, i64 grad_n, i64 grad_k, const i64* levels, const i64* segments,
                                i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights,
                                int lattice, int outside, float* grad_positions, int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_positions<D, decltype(f)::value>(Simplices<D>{}, g, table, table_dtype, {grad, grad_n, grad_k}, nullptr,
                                                  grad_positions, n_threads);
    });
}

void simplex_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* grad,
                               i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k, const i64* levels,
                               const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                               const float* level_weights, int lattice, int outside, float* grad_table,
                               float* grad_grad, i64 gg_n, i64 gg_k, int n_threads) {
    const Turned turned({positions, pos_n, pos_k}, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_backward<D, decltype(f)::value>(Simplices<D>{}, g, table, {grad, grad_n, grad_k},
                                                 {direction, dir_n, dir_k}, grad_table, {grad_grad, gg_n, gg_k}, nullptr,
                                                 n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
