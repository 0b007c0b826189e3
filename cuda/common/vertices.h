// What a block of points reads from one level: entries and weights of all its points are found first, then used.
//
// An index that was computed in a vector is needed as a number in each lane. A vector that was stored a moment ago cannot
// be read back in parts until the store has left the core's store queue; with a block's work in between it has. That
// halves the time of a lookup (Zen 4: 3-D hash grid 75 to 43 ms, simplex 70 to 33 ms for 2^18 points, tables of 50 MB),
// more than prefetching does.
#pragma once
#include "features.h"
#include "gather.h"

namespace neural {
namespace NEURAL_ISA {

struct Vertices {
    static constexpr int kSlots = 2048, kMostPoints = 256;

    int n_each;   // vertices of a point
    int n_points; // of a full block, whole vectors
    vfloat scale[kMostPoints / kWidth]; // what a point's result is multiplied by
    alignas(64) u32 index[kSlots];      // [vector of points][vertex][lane]
    alignas(64) float weight[kSlots];

    explicit Vertices(int n) : n_each(n), n_points(n > 0 ? kSlots / n / kWidth * kWidth : kMostPoints) {
        if (n_points > kMostPoints) n_points = kMostPoints;
    }
};

NEURAL_HD void put(u32* index, vuint v) { __builtin_memcpy(index, &v, sizeof(v)); }

// Calls visit(first, last) for the blocks of points first .. last-1.
template <class Visit> void by_blocks(const Vertices& v, i64 first, i64 last, const Visit& visit) {
    for (i64 n = first; n < last; n += v.n_points) visit(n, n + v.n_points < last ? n + v.n_points : last);
}

// out[n, column + f] = scale * sum over vertices of weight * entry, for points first .. last-1.
template <int F>
NEURAL_OUTLINED void sum_entries(const void* base, int dtype, const Vertices& v, i64 first, i64 last, RowsOut out, i64 column) {
    i64 slot = 0;
    for (i64 n = first; n < last; n += kWidth) {
        vfloat sum[F] = {};
        for (int k = 0; k < v.n_each; ++k, slot += kWidth) {
            vfloat entry[F];
            gather_entries<F>(base, dtype, v.index + slot, entry);
            const vfloat w = load(v.weight + slot);
            for (int f = 0; f < F; ++f) sum[f] = sum[f] + w * entry[f];
        }
        const vfloat scale = v.scale[(n - first) / kWidth];
        for (int f = 0; f < F; ++f) out.store_lanes(n, column + f, sum[f] * scale, lanes(n, last));
    }
}

// Puts scale * <grad[n, column ..], entry> in place of each weight.
template <int F>
NEURAL_OUTLINED void dot_entries(const void* base, int dtype, Vertices& v, i64 first, i64 last, Rows grad, i64 column) {
    i64 slot = 0;
    for (i64 n = first; n < last; n += kWidth) {
        vfloat up[F];
        for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, column + f, lanes(n, last)) * v.scale[(n - first) / kWidth];
        for (int k = 0; k < v.n_each; ++k, slot += kWidth) {
            vfloat entry[F];
            gather_entries<F>(base, dtype, v.index + slot, entry);
            vfloat dot = up[0] * entry[0];
            for (int f = 1; f < F; ++f) dot = dot + up[f] * entry[f];
            store(v.weight + slot, dot);
        }
    }
}

// entry += weight * scale * grad[n, column ..], in order of vectors, vertices and lanes, so that sums have one order.
template <int F>
NEURAL_OUTLINED void add_entries(float* base, const Vertices& v, i64 first, i64 last, Rows grad, i64 column) {
    typedef float Entry __attribute__((vector_size(4 * F), aligned(4), may_alias));
    alignas(64) float ups[Vertices::kMostPoints * F]; // [point][feature]
    for (i64 n = first; n < last; n += kWidth) {
        float* out = ups + (n - first) * F;
        vfloat up[F];
        for (int f = 0; f < F; ++f) // 0 past the end
            up[f] = grad.load_lanes(n, column + f, lanes(n, last)) * v.scale[(n - first) / kWidth];
        if constexpr (F == 2) interleave_pairs(up[0], up[1], out);
        else
            for (int f = 0; f < F; ++f)
                for (int i = 0; i < kWidth; ++i) out[i * F + f] = up[f][i];
    }
    i64 slot = 0;
    for (i64 n = 0; n < last - first; n += kWidth)
        for (int k = 0; k < v.n_each; ++k, slot += kWidth)
            for (int i = 0; i < kWidth; ++i) {
                const Entry up = *(const Entry*)(ups + (n + i) * F);
                *(Entry*)(base + F * u64(v.index[slot + i])) += v.weight[slot + i] * up;
            }
}

} // namespace NEURAL_ISA
} // namespace neural
