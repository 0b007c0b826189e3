// Simplex encoding: which simplex of a level a position lies in, its D + 1 vertices and their weights.
// Source: Wen and Yang 2023, arXiv:2311.15439 (skew, sorted fractions, barycentric weights); the permutohedral form
// after Adams et al. 2010 and Rosu and Behnke 2023, arXiv:2211.12562.
//
// p = x scale + shift is mapped linearly to q, where the lattice's points are those of whole coordinates. The unit cell
// floor(q) is cut into D! simplices by the order of the fractions f: from the cell's lowest vertex, v_0, the walk
// v_k = v_(k-1) + unit(axis of the k-th largest fraction) reaches the highest. With f sorted, f_1 the largest, vertex k
// has the weight f_k - f_(k+1), where f_0 = 1 and f_(D+1) = 0, so that
//   y = phi(v_0) + sum over k of f_k (phi(v_k) - phi(v_(k-1))),   dy/dq_(axis k) = phi(v_k) - phi(v_(k-1)).
//
// M is the machine: M::V, M::U and M::Mask are float, u32 and bool on a GPU, vectors of lanes on a CPU.
#pragma once
#include "common/level.cuh"

namespace neural {
namespace simplex {

// How p becomes q. Skewed: q = p + F sum(p), F = (sqrt(D + 1) - 1) / D, the lattice A_D* with its least stretched
// simplices. Kuhn: q = p, cubes cut along their diagonals. Permutohedral: the elevation of Adams et al. into the plane
// of D + 1 coordinates, written in the lattice's own; it is the skewed lattice, turned, and scales hold the factor
// sqrt((d + 2) / (d + 1)) of axis d = 0 ... D - 1.
enum Lattice { kSkewed = 0, kKuhn = 1, kPermutohedral = 2 };

template <int D> NEURAL_HD float skew() {
    const float factors[8] = {0.0f,        0.41421356f, 0.36602540f, 0.33333333f,
                              0.30901699f, 0.28989795f, 0.27429189f, 0.26120387f};
    return factors[D];
}

// p to q, in place; the derivative of q along a direction of p is the same map.
template <int D, class V> NEURAL_HD void to_lattice(int lattice, V* p) {
    if (lattice == kSkewed) {
        V sum = p[0];
        for (int d = 1; d < D; ++d) sum = sum + p[d];
        sum = sum * skew<D>();
        for (int d = 0; d < D; ++d) p[d] = p[d] + sum;
    } else if (lattice == kPermutohedral) {
        V sum = p[0] * 0.5f;
        for (int d = 1; d < D; ++d) {
            const V own = p[d];
            p[d] = own + sum;
            sum = sum + own * (1.0f / float(d + 2));
        }
    }
}

// A gradient by q to the gradient by p, in place: the transposed map.
template <int D, class V> NEURAL_HD void from_lattice(int lattice, V* g) {
    if (lattice == kSkewed) {
        to_lattice<D>(kSkewed, g);
    } else if (lattice == kPermutohedral) {
        V sum = g[D - 1];
        for (int d = D - 2; d >= 0; --d) {
            const V own = g[d];
            g[d] = own + sum * (1.0f / float(d + 2));
            sum = sum + own;
        }
    }
}

// Sorting networks with the fewest comparators known (Knuth, The Art of Computer Programming 3, 5.3.4): the I-th
// exchanges the values at two positions, the first below the second.
template <int D> constexpr int kComparators = D < 4 ? D * (D - 1) / 2 : D == 4 ? 5 : D == 5 ? 9 : D == 6 ? 12 : 16;
constexpr char kNetworks[8][33] = {"", "", "01", "021201", "0213012312", "031402130124123423",
                                   "051324123403250123451234", "06234502143601253412462345123456"};
template <int D, int I> constexpr int kLow = kNetworks[D][2 * I] - '0';
template <int D, int I> constexpr int kHigh = kNetworks[D][2 * I + 1] - '0';

// Sorts f downwards and keeps what was exchanged.
template <class M, int D, int I = 0> NEURAL_HD void sort(typename M::V* f, typename M::Mask* swaps) {
    if constexpr (I < kComparators<D>) {
        const typename M::V a = f[kLow<D, I>], b = f[kHigh<D, I>];
        swaps[I] = M::above(b, a);
        f[kLow<D, I>] = M::select(swaps[I], b, a);
        f[kHigh<D, I>] = M::select(swaps[I], a, b);
        sort<M, D, I + 1>(f, swaps);
    }
}
// Brings values of the axes into the fractions' order.
template <class M, int D, int I = 0, class T> NEURAL_HD void permute(T* values, const typename M::Mask* swaps) {
    if constexpr (I < kComparators<D>) {
        const T a = values[kLow<D, I>], b = values[kHigh<D, I>];
        values[kLow<D, I>] = M::select(swaps[I], b, a);
        values[kHigh<D, I>] = M::select(swaps[I], a, b);
        permute<M, D, I + 1>(values, swaps);
    }
}
// Brings values in the fractions' order back to the axes.
template <class M, int D, int I = kComparators<D> - 1, class T>
NEURAL_HD void restore(T* values, const typename M::Mask* swaps) {
    if constexpr (I >= 0) {
        const T a = values[kLow<D, I>], b = values[kHigh<D, I>];
        values[kLow<D, I>] = M::select(swaps[I], b, a);
        values[kHigh<D, I>] = M::select(swaps[I], a, b);
        restore<M, D, I - 1>(values, swaps);
    }
}

// A position's simplex.
template <class M, int D> struct Place {
    typename M::V fraction[D];                   // sorted downwards
    typename M::Mask swaps[kComparators<D> + 1]; // what the sort exchanged
    typename M::U key;                           // of vertex 0, before the modulo
    typename M::U step[D];                       // from one vertex' key to the next: XORed if hashed, added if dense
};

// q to its simplex. Fractions of NaN count as 0: the caller poisons the result, and so which vertices the NaN reaches
// does not depend on a machine's comparisons.
template <class M, int D> NEURAL_HD Place<M, D> locate(const typename M::V* q, const grid::Level<D>& level) {
    Place<M, D> place;
    for (int d = 0; d < D; ++d) {
        typename M::U cell;
        const typename M::V f = q[d] - M::whole(q[d], cell);
        place.fraction[d] = M::at_least_zero(f);
        const typename M::U term = cell * level.factor[d];
        if (level.hashed) {
            place.key = d == 0 ? term ^ level.key : place.key ^ term;
            place.step[d] = term ^ (term + level.factor[d]);
        } else {
            place.key = d == 0 ? term : place.key + term;
            place.step[d] = term - term + level.factor[d];
        }
    }
    sort<M, D>(place.fraction, place.swaps);
    permute<M, D>(place.step, place.swaps);
    return place;
}

// Weight of vertex k, given the sorted fractions; `whole` is 1. With the sorted derivatives of q along a direction and
// `whole` 0 it is the weight's derivative.
template <int D, class V> NEURAL_HD V weight(const V* sorted, int k, float whole) {
    if (k == 0) return whole - sorted[0];
    return k == D ? sorted[D - 1] : sorted[k - 1] - sorted[k];
}

} // namespace simplex
} // namespace neural
