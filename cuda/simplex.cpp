// Simplex encoding on the CPU, a vector of points at a time; the order of work is common/lattice.h's.
#include "simplex.h"
#include "common/gather.h"
#include "common/lattice.h"
#include "common/mask.h"
#include "simplex.cuh"

#define NEURAL_ROLLED _Pragma("GCC unroll 1")

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kNear = 1 << 19; // bytes of a level that stay in the L2 cache

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

// Entries of the D + 1 vertices, in the walk's order.
template <int D> NEURAL_HD void entries(const Place<D>& place, const grid::Level<D>& level, vuint* index) {
    vuint key = place.key;
    index[0] = wrap(key, level);
    for (int k = 0; k < D; ++k) {
        key = level.hashed ? key ^ place.step[k] : key + place.step[k];
        index[k + 1] = wrap(key, level);
    }
}
template <int D> NEURAL_HD void weights(const vfloat* sorted, float whole, vfloat* w) {
    for (int k = 0; k <= D; ++k) w[k] = simplex::weight<D>(sorted, k, whole);
}

// Adds weight * entry over the vertices. A loop, not unrolled: its body is long, and there are 28 shapes.
template <int D, int F>
NEURAL_HD void interpolate(const char* base, int dtype, const vuint* index, const vfloat* w, vfloat* sum) {
    for (int f = 0; f < F; ++f) sum[f] = vfloat{};
    NEURAL_ROLLED
    for (int k = 0; k <= D; ++k) {
        vfloat entry[F];
        gather_entries<F>(base, dtype, index[k], entry);
        for (int f = 0; f < F; ++f) sum[f] = sum[f] + w[k] * entry[f];
    }
}
template <int D, int F>
NEURAL_HD void add(float* base, const vuint* index, const vfloat* w, const vfloat* up, Marks& marks, i64 offset, int count) {
    NEURAL_ROLLED
    for (int k = 0; k <= D; ++k) {
        vfloat part[F];
        for (int f = 0; f < F; ++f) part[f] = w[k] * up[f];
        scatter_add_entries<F>(base, index[k], part);
        if (marks.blocks) marks.add(index[k], offset, count);
    }
}

// The vertices of a vector of points: their entries and weights, and what the result is multiplied by.
template <int D> struct Vertices {
    vuint index[D + 1];
    vfloat weight[D + 1];
    vfloat scale;

    NEURAL_HD void find(const Grid& g, const grid::Level<D>& level, i64 n, int count) {
        vfloat slopes[D];
        const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
        entries<D>(place, level, index);
        weights<D>(place.fraction, 1.0f, weight);
    }
    // Asks for the entries' lines.
    NEURAL_HD void prefetch(const char* base, i64 bytes) const {
        alignas(64) u32 at[kWidth];
        NEURAL_ROLLED
        for (int k = 0; k <= D; ++k) {
            __builtin_memcpy(at, &index[k], sizeof(at));
            for (int i = 0; i < kWidth; ++i) __builtin_prefetch(base + i64(at[i]) * bytes, 0, 3);
        }
    }
};

// In levels that outgrow the L2 cache the lines of the next vector are on their way while one is summed: a tenth faster.
template <int D, int F> void forward(const Grid& g, const void* table, int dtype, RowsOut features, int n_threads) {
    by_levels<D, F>(g, table, dtype, D + 1, features, n_threads, [&](int l, const Span& span, const char* base) {
        const auto level = g.level<D>(span.table, l);
        const float weight = g.weight(l);
        const i64 bytes = F * (dtype == 0 ? 4 : 2);
        const bool far = level.size * bytes > kNear;
        Vertices<D> vertices[2];
        int now = 0;
        vertices[0].find(g, level, span.first, lanes(span.first, span.last));
        for (i64 n = span.first, next; n < span.last; n = next, now ^= 1) {
            next = n + kWidth;
            if (next < span.last) {
                vertices[now ^ 1].find(g, level, next, lanes(next, span.last));
                if (far) vertices[now ^ 1].prefetch(base, bytes);
            }
            vfloat sum[F];
            interpolate<D, F>(base, dtype, vertices[now].index, vertices[now].weight, sum);
            const vfloat scale = vertices[now].scale * weight;
            for (int f = 0; f < F; ++f) features.store_lanes(n, l * F + f, sum[f] * scale, lanes(n, span.last));
        }
    });
}

template <int D, int F>
void backward_table(const Grid& g, Rows grad, float* grad_table, u64* touched, int n_threads) {
    by_owners<D, F>(g, grad_table, touched, D + 1, n_threads, [&](int l, const Span& span, float* base, Marks& marks) {
        const auto level = g.level<D>(span.table, l);
        const float weight = g.weight(l);
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            vfloat scale, slopes[D], w[D + 1], up[F];
            vuint index[D + 1];
            const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
            entries<D>(place, level, index);
            weights<D>(place.fraction, 1.0f, w);
            scale = scale * weight;
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale; // 0 past the end
            add<D, F>(base, index, w, up, marks, level.offset, count);
        }
    });
}

template <int D, int F>
void backward_positions(const Grid& g, const void* table, int dtype, Rows grad, float* grad_positions, int n_threads) {
    by_chunks<D>(g, grad_positions, n_threads, [&](int l, const Span& span, vfloat* sums) {
        const auto level = g.level<D>(span.table, l);
        const float weight = g.weight(l);
        const char* base = (const char*)table + level.offset * F * (dtype == 0 ? 4 : 2);
        for (i64 n = span.first; n < span.last; n += kWidth, sums += D) {
            const int count = lanes(n, span.last);
            vfloat scale, slopes[D], up[F], dot[D + 1], along[D];
            vuint index[D + 1];
            const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
            entries<D>(place, level, index);
            scale = scale * weight;
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
            NEURAL_ROLLED
            for (int k = 0; k <= D; ++k) {
                vfloat entry[F];
                gather_entries<F>(base, dtype, index[k], entry);
                dot[k] = up[0] * entry[0];
                for (int f = 1; f < F; ++f) dot[k] = dot[k] + up[f] * entry[f];
            }
            for (int d = 0; d < D; ++d) along[d] = dot[d + 1] - dot[d];
            simplex::restore<Lanes, D>(along, place.swaps);
            simplex::from_lattice<D>(g.form, along);
            for (int d = 0; d < D; ++d) sums[d] = sums[d] + along[d] * slopes[d];
        }
    });
}

// The derivatives of q along `direction`, in the fractions' order.
template <int D>
NEURAL_HD void turn(const Grid& g, const Place<D>& place, Rows direction, i64 n, int count, const vfloat* slopes, vfloat* v) {
    for (int d = 0; d < D; ++d) v[d] = direction.load_lanes(n, d, count) * slopes[d];
    simplex::to_lattice<D>(g.form, v);
    simplex::permute<Lanes, D>(v, place.swaps);
}

template <int D, int F>
void backward_backward(const Grid& g, const float* table, Rows grad, Rows direction, float* grad_table,
                       RowsOut grad_grad, int n_threads) {
    if (grad_table)
        by_owners<D, F>(g, grad_table, nullptr, D + 1, n_threads, [&](int l, const Span& span, float* base, Marks& marks) {
            const auto level = g.level<D>(span.table, l);
            for (i64 n = span.first; n < span.last; n += kWidth) {
                const int count = lanes(n, span.last);
                vfloat scale, slopes[D], up[F], v[D], w[D + 1];
                vuint index[D + 1];
                const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
                entries<D>(place, level, index);
                turn<D>(g, place, direction, n, count, slopes, v);
                weights<D>(v, 0.0f, w);
                scale = scale * g.weight(l);
                for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
                add<D, F>(base, index, w, up, marks, level.offset, count);
            }
        });
    if (!grad_grad.data) return;
    by_levels<D, F>(g, table, 0, D + 1, grad_grad, n_threads, [&](int l, const Span& span, const char* base) {
        const auto level = g.level<D>(span.table, l);
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            vfloat scale, slopes[D], v[D], w[D + 1], sum[F];
            vuint index[D + 1];
            const Place<D> place = locate<D>(g, level, n, count, scale, slopes);
            entries<D>(place, level, index);
            turn<D>(g, place, direction, n, count, slopes, v);
            weights<D>(v, 0.0f, w);
            interpolate<D, F>(base, 0, index, w, sum);
            scale = scale * g.weight(l);
            for (int f = 0; f < F; ++f) grad_grad.store_lanes(n, l * F + f, sum[f] * scale, count);
        }
    });
}

} // namespace

void simplex_forward(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                     const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                     const float* level_weights, int lattice, int outside, float* features, i64 feat_n, i64 feat_k,
                     int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        forward<decltype(d)::value, decltype(f)::value>(g, table, table_dtype, {features, feat_n, feat_k}, n_threads);
    });
}

void simplex_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
                            const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                            int n_features, const float* level_weights, int lattice, int outside, float* grad_table,
                            u64* touched, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_table<decltype(d)::value, decltype(f)::value>(g, {grad, grad_n, grad_k}, grad_table, touched, n_threads);
    });
}

void simplex_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                                const float* grad, i64 grad_n, i64 grad_k, const i64* levels, const i64* segments,
                                i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights,
                                int lattice, int outside, float* grad_positions, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_positions<decltype(d)::value, decltype(f)::value>(g, table, table_dtype, {grad, grad_n, grad_k},
                                                                   grad_positions, n_threads);
    });
}

void simplex_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* grad,
                               i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k, const i64* levels,
                               const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                               const float* level_weights, int lattice, int outside, float* grad_table,
                               float* grad_grad, i64 gg_n, i64 gg_k, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, lattice, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_backward<decltype(d)::value, decltype(f)::value>(
            g, table, {grad, grad_n, grad_k}, {direction, dir_n, dir_k}, grad_table, {grad_grad, gg_n, gg_k}, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
