// The four passes of a lattice encoding on the CPU, forward, by the table, by positions and second order, for every op
// whose points read a few entries of each level. What differs between such ops is a lattice `A`:
//   A::kCurved                        whether weights bend: else a gradient's gradient by positions is zero
//   a.n_vertices(g)                   entries that a point reads in a level
//   a.flat(g)                         whether features are constant in pieces, so that all gradients by positions vanish
//   a.find(g, level, l, n, count, direction, index, weight) -> scale
//       entries and weights of the vector of points n in level l; with a direction [N, D], the derivatives of the weights
//       along it. The result is multiplied by the scale: 0 where a point counts as outside, else 1.
//   a.gradient(g, level, l, n, count, direction, dots, sums)
//       adds to sums[D] the gradient by the position of sum over vertices of weight * dot, or of weight's derivative * dot.
#pragma once
#include "lattice.h"
#include "vertices.h"

namespace neural {
namespace NEURAL_ISA {

template <int D, bool Hashed, class A>
NEURAL_OUTLINED void find_known(const A& a, const Grid& g, grid::Level<D> level, int l, i64 first, i64 last,
                                const Rows* direction, Vertices& v) {
    level.hashed = Hashed; // for the compiler
    const float weight = g.weight(l);
    u32* index = v.index;
    float* w = v.weight;
    const int step = v.n_each * kWidth;
    for (i64 n = first; n < last; n += kWidth, index += step, w += step)
        v.scale[(n - first) / kWidth] = a.find(g, level, l, n, lanes(n, last), direction, index, w) * weight;
}
template <int D, class A>
void find(const A& a, const Grid& g, const grid::Level<D>& level, int l, i64 first, i64 last, const Rows* direction,
          Vertices& v) {
    if (level.hashed) find_known<D, true>(a, g, level, l, first, last, direction, v);
    else find_known<D, false>(a, g, level, l, first, last, direction, v);
}

// The gradient by positions of points first .. last-1, from v's dots, to sums.
template <int D, class A>
NEURAL_OUTLINED void add_gradients(const A& a, const Grid& g, const grid::Level<D>& level, int l, i64 first, i64 last,
                                   const Rows* direction, const Vertices& v, vfloat* sums) {
    const float* dots = v.weight;
    for (i64 n = first; n < last; n += kWidth, sums += D, dots += v.n_each * kWidth)
        a.gradient(g, level, l, n, lanes(n, last), direction, dots, sums);
}

template <int D, int F, class A>
void forward(const A& a, const Grid& g, const void* table, int dtype, const Rows* direction, RowsOut out, int n_threads) {
    const int n_vertices = direction && a.flat(g) ? 0 : a.n_vertices(g);
    by_levels<D, F>(g, table, dtype, n_vertices, out, n_threads, [&](int l, const Span& span, const char* base) {
        const auto level = g.level<D>(span.table, l);
        Vertices v(n_vertices);
        by_blocks(v, span.first, span.last, [&](i64 first, i64 last) {
            find<D>(a, g, level, l, first, last, direction, v);
            sum_entries<F>(base, dtype, v, first, last, out, l * F);
        });
    });
}

template <int D, int F, class A>
void backward_table(const A& a, const Grid& g, Rows grad, const Rows* direction, float* grad_table, u64* touched,
                    int n_threads) {
    if (direction && a.flat(g)) return;
    const int n_vertices = a.n_vertices(g);
    const Turned turned(grad, g.n_points(), g.n_levels * F, n_threads);
    by_owners<D, F>(g, grad_table, touched, n_vertices, n_threads,
                    [&](int l, const Span& span, float* base, const Marks& marks) {
        const auto level = g.level<D>(span.table, l);
        Vertices v(n_vertices);
        by_blocks(v, span.first, span.last, [&](i64 first, i64 last) {
            find<D>(a, g, level, l, first, last, direction, v);
            add_entries<F>(base, v, first, last, turned.rows, l * F);
            if (!marks.blocks) return;
            const u32* index = v.index;
            for (i64 n = first; n < last; n += kWidth)
                for (int k = 0; k < n_vertices; ++k, index += kWidth) marks.add(index, level.offset, lanes(n, last));
        });
    });
}

// With a direction, the gradient by positions of <direction, gradient by positions>.
template <int D, int F, class A>
void backward_positions(const A& a, const Grid& g, const void* table, int dtype, Rows grad, const Rows* direction,
                        float* grad_positions, int n_threads) {
    const Turned turned(grad, g.n_points(), g.n_levels * F, n_threads);
    by_chunks<D>(g, grad_positions, n_threads, [&](int l, const Span& span, vfloat* sums) {
        if (a.flat(g) || (direction && !A::kCurved)) return;
        const auto level = g.level<D>(span.table, l);
        const char* base = (const char*)table + level.offset * F * (dtype == 0 ? 4 : 2);
        Vertices v(a.n_vertices(g));
        by_blocks(v, span.first, span.last, [&](i64 first, i64 last) {
            find<D>(a, g, level, l, first, last, nullptr, v);
            dot_entries<F>(base, dtype, v, first, last, turned.rows, l * F);
            add_gradients<D>(a, g, level, l, first, last, direction, v, sums + (first - span.first) / kWidth * D);
        });
    });
}

// For s = <gradient by positions, direction>: adds ds/dtable, writes ds/dgrad and ds/dpositions; any may be null.
template <int D, int F, class A>
void backward_backward(const A& a, const Grid& g, const float* table, Rows grad, Rows direction, float* grad_table,
                       RowsOut grad_grad, float* grad_positions, int n_threads) {
    if (grad_table) backward_table<D, F>(a, g, grad, &direction, grad_table, nullptr, n_threads);
    if (grad_grad.data) forward<D, F>(a, g, table, 0, &direction, grad_grad, n_threads);
    if (grad_positions) backward_positions<D, F>(a, g, table, 0, grad, &direction, grad_positions, n_threads);
}

} // namespace NEURAL_ISA
} // namespace neural
