// Where a pixel's ray meets a surfel, and the way back. With d the pixel's offset from the centre's image, A and w the
// axes (surfel_projection.cuh), z the centre's depth and adj the adjugate,
//   y = adj(A) d,  e = det A - w . y,  (u, v) = (z / e) y,  t = (z / e) det A,
// and the squared distance is the lesser of u^2 + v^2 (where t > 0) and 2 |d|^2, with t = z for the latter. Blending is
// that of gaussian_blend.cuh. With sums over a pixel's surfels A = sum w_i, D = sum w_i b_i, Q = sum w_i b_i^2, b_i the
// depth less the first one's, the distortion sum_{i<j} w_i w_j (t_i - t_j)^2 is A Q - D^2: its slope in w_i is
// A b_i^2 + Q - 2 b_i D, in t_i 2 w_i (A b_i - D).
// Source: Huang et al. 2024, arXiv:2403.17888, eq. 8-13 and the appendix on distortion, in a form without the inverse of
// a matrix: ours.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "gaussian_blend.cuh"

namespace neural {
namespace surfel {

template <class V> struct Axes { // of one surfel: x and y of u and v, z of u and v
    V ux, vx, uy, vy, uz, vz;
};
template <class V> NEURAL_HD V area(const Axes<V>& a) { return a.ux * a.vy - a.vx * a.uy; }
template <class V> NEURAL_HD V slope_x(const Axes<V>& a) { return a.vz * a.uy - a.uz * a.vy; } // of e
template <class V> NEURAL_HD V slope_y(const Axes<V>& a) { return a.uz * a.vx - a.vz * a.ux; }

// Sums over the pixels of a surfel. P and Q are the gradients to y, E that to e.
template <class V> struct Moments {
    V slope;              // alpha dL/dalpha
    V x, y;               // dL/d centre
    V px, py, qx, qy;     // P and Q times d
    V e, ex, ey;          // E, and times d
    V z, area;            // dL/d depth and dL/d area of the axes, where they stand by themselves
};
// What becomes of the moments in the axes; the others are gradients already.
template <class V> NEURAL_HD Axes<V> axes_gradients(const Moments<V>& m, const Axes<V>& a) {
    const V area = m.area + m.e;
    return {m.qy + a.vy * area - a.vz * m.ey, -m.py - a.uy * area + a.uz * m.ey,
            -m.qx - a.vx * area + a.vz * m.ex, m.px + a.ux * area - a.uz * m.ex,
            a.vx * m.ey - a.vy * m.ex, a.uy * m.ex - a.ux * m.ey};
}

} // namespace surfel
} // namespace neural
