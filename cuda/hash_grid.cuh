// Multi-resolution hash grid: where a position lies in a level, and which entries surround it.
// Source: Mueller et al. 2022, arXiv:2201.05989, section 3; indexing as in tiny-cuda-nn: levels staggered by half a
// cell, dense indices where they fit, otherwise the XOR of the cell's coordinates times primes (eq. 4), modulo size.
//
// A position x in [0, 1]^D has cell = floor(x scale + shift); its 2^D corners are weighted by products of u(bit):
// 1 - s(f) and s(f), f the fraction, s the interpolation.
// V is float and U is u32 on a GPU; on a CPU they are vectors of lanes.
#pragma once
#include "common/level.cuh"

namespace neural {
namespace grid {

enum Interpolation { kNearest = 0, kLinear = 1, kSmoothstep = 2 };

// One axis: x to cell and u(0), u(1); du(bit) = +-slope and d2u(bit) = +-bend by x. `inside` is 0 or 1.
template <class V, class U> struct Axis {
    U cell;
    V low, high, slope, bend;
};

// `whole(p, cell)` gives floor(p) and stores it as an integer, at most kFarthestCell from 0.
template <int Interp, class V, class U, class Whole>
NEURAL_HD Axis<V, U> locate(V x, float scale, float shift, V inside, const Whole& whole) {
    Axis<V, U> axis;
    const V p = x * scale + shift;
    const V f = p - whole(p, axis.cell);
    const V zero = inside - inside;
    if (Interp == kNearest) {
        axis.low = f - f + 1.0f; // NaN of an infinity too
        axis.high = axis.slope = axis.bend = zero;
    } else if (Interp == kLinear) {
        axis.high = f;
        axis.low = 1.0f - f;
        axis.slope = inside * scale;
        axis.bend = zero;
    } else {
        axis.high = f * f * (3.0f - 2.0f * f);
        axis.low = 1.0f - axis.high;
        axis.slope = 6.0f * f * (1.0f - f) * scale * inside;
        axis.bend = (6.0f - 12.0f * f) * (scale * scale) * inside;
    }
    return axis;
}

// Key of a corner before the modulo; bit d of `corner` chooses the upper neighbour on axis d.
template <int D, class V, class U> NEURAL_HD U corner_key(const Axis<V, U>* axes, const Level<D>& level, int corner) {
    U key = ((axes[0].cell + u32(corner & 1)) * level.factor[0]) ^ level.key;
    for (int d = 1; d < D; ++d) {
        const U term = (axes[d].cell + u32((corner >> d) & 1)) * level.factor[d];
        key = level.hashed ? key ^ term : key + term;
    }
    return key;
}

// Weight of a corner.
template <int D, class V, class U> NEURAL_HD V corner_weight(const Axis<V, U>* axes, int corner) {
    V w = corner & 1 ? axes[0].high : axes[0].low;
    for (int d = 1; d < D; ++d) w = w * ((corner >> d) & 1 ? axes[d].high : axes[d].low);
    return w;
}

// grad[e] += value * d(weight of corner)/dx_e
template <int D, class V, class U> NEURAL_HD void add_weight_gradient(const Axis<V, U>* axes, int corner, V value, V* grad) {
    V before[D]; // product of the factors before axis d
    before[0] = value;
    for (int d = 1; d < D; ++d) before[d] = before[d - 1] * ((corner >> (d - 1)) & 1 ? axes[d - 1].high : axes[d - 1].low);
    V after = value - value + 1.0f;
    for (int d = D - 1; d >= 0; --d) {
        const V term = before[d] * after * axes[d].slope;
        grad[d] = (corner >> d) & 1 ? grad[d] + term : grad[d] - term;
        after = after * ((corner >> d) & 1 ? axes[d].high : axes[d].low);
    }
}

// The derivative of a corner's weight along `direction`, and optionally the gradient of that by x, added times `value`.
// With dual numbers u + eps du.direction the derivative is the eps part of their product over the axes.
template <int D, class V, class U> NEURAL_HD V directional(const Axis<V, U>* axes, int corner, const V* direction) {
    V p, q; // product and its eps part
    for (int d = 0; d < D; ++d) {
        const bool up = (corner >> d) & 1;
        const V u = up ? axes[d].high : axes[d].low;
        const V du = up ? direction[d] * axes[d].slope : -(direction[d] * axes[d].slope);
        if (d == 0) {
            p = u;
            q = du;
        } else {
            q = q * u + p * du;
            p = p * u;
        }
    }
    return q;
}
template <int D, class V, class U>
NEURAL_HD void add_directional_gradient(const Axis<V, U>* axes, int corner, const V* direction, V value, V* grad) {
    V p_before[D], q_before[D];
    V p = value - value + 1.0f, q = value - value;
    for (int d = 0; d < D; ++d) {
        p_before[d] = p;
        q_before[d] = q;
        const bool up = (corner >> d) & 1;
        const V u = up ? axes[d].high : axes[d].low;
        const V du = up ? direction[d] * axes[d].slope : -(direction[d] * axes[d].slope);
        q = q * u + p * du;
        p = p * u;
    }
    p = value;
    q = value - value;
    for (int d = D - 1; d >= 0; --d) {
        const bool up = (corner >> d) & 1;
        const V u = up ? axes[d].high : axes[d].low;
        const V du = up ? axes[d].slope : -axes[d].slope;
        const V ddu = up ? direction[d] * axes[d].bend : -(direction[d] * axes[d].bend);
        // eps part of (before) * (du + eps ddu) * (after)
        grad[d] = grad[d] + (q_before[d] * p + p_before[d] * q) * du + p_before[d] * p * ddu;
        q = q * u + p * (direction[d] * du);
        p = p * u;
    }
}

} // namespace grid
} // namespace neural
