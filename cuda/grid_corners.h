// The corners of cells on the CPU, a vector of points at a time: what the hash grid and its probed kin share.
#pragma once
#include "common/lattice_passes.h"
#include "hash_grid.cuh"

namespace neural {
namespace NEURAL_ISA {

typedef grid::Axis<vfloat, vuint> Axis;

// A vector of points in one level: its axes, and per lane 0 where the point counts as outside (mode zero).
template <int D> NEURAL_HD vfloat locate(const Grid& g, const grid::Level<D>& level, i64 n, int count, Axis* axes) {
    vfloat valid = splat(1.0f), inside;
    const auto at = [](vfloat p, vuint& cell) { return whole(p, cell); };
    NEURAL_UNROLL
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

// Entries of the 2^D corners to index[corner][lane]: keys double their number axis by axis.
template <int D> NEURAL_HD void corner_entries(const Axis* axes, const grid::Level<D>& level, u32* index) {
    vuint key[1 << D];
    NEURAL_UNROLL
    for (int d = 0; d < D; ++d) {
        const vuint low = axes[d].cell * level.factor[d], high = low + level.factor[d];
        if (d == 0) {
            key[0] = low ^ level.key;
            key[1] = high ^ level.key;
            continue;
        }
        NEURAL_UNROLL
        for (int c = 0; c < 1 << d; ++c) {
            key[c + (1 << d)] = level.hashed ? key[c] ^ high : key[c] + high;
            key[c] = level.hashed ? key[c] ^ low : key[c] + low;
        }
    }
    NEURAL_UNROLL
    for (int c = 0; c < 1 << D; ++c) put(index + c * kWidth, wrap(key[c], level));
}

// Their weights, to weight[corner][lane].
template <int D> NEURAL_HD void corner_weights(const Axis* axes, float* weight) {
    vfloat w[1 << D];
    w[0] = axes[0].low;
    w[1] = axes[0].high;
    NEURAL_UNROLL
    for (int d = 1; d < D; ++d) {
        NEURAL_UNROLL
        for (int c = 0; c < 1 << d; ++c) {
            w[c + (1 << d)] = w[c] * axes[d].high;
            w[c] = w[c] * axes[d].low;
        }
    }
    NEURAL_UNROLL
    for (int c = 0; c < 1 << D; ++c) store(weight + c * kWidth, w[c]);
}

// The derivatives of the weights along a direction [N, D].
template <int D> NEURAL_HD void directional_weights(const Axis* axes, Rows direction, i64 n, int count, float* weight) {
    vfloat v[D];
    for (int d = 0; d < D; ++d) v[d] = direction.load_lanes(n, d, count);
    for (int c = 0; c < 1 << D; ++c) store(weight + c * kWidth, grid::directional<D>(axes, c, v));
}

// Adds the gradient by the position of sum over corners of weight * dot, or of weight's derivative along a direction.
template <int D>
NEURAL_HD void corner_gradient(const Axis* axes, i64 n, int count, const Rows* direction, const float* dots, vfloat* sums) {
    vfloat v[D];
    if (direction)
        for (int d = 0; d < D; ++d) v[d] = direction->load_lanes(n, d, count);
    for (int c = 0; c < 1 << D; ++c) {
        const vfloat dot = load(dots + c * kWidth);
        if (direction) grid::add_directional_gradient<D>(axes, c, v, dot, sums);
        else grid::add_weight_gradient<D>(axes, c, dot, sums);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
