// Where a pixel's ray meets a surfel, and the way back. With d the pixel's offset from the centre's image, A and w the
// axes (surfel_projection.cuh), z the centre's depth and adj the adjugate,
//   y = adj(A) d,  e = det A - w . y,  (u, v) = (z / e) y,  t = (z / e) det A,
// and the squared distance is the lesser of u^2 + v^2 (where t > 0) and 2 |d|^2, with t = z for the latter. Blending is
// that of gaussian_blend.cuh. With sums over a pixel's surfels A = sum w_i, D = sum w_i b_i, Q = sum w_i b_i^2, b_i the
// depth less the first one's, the distortion sum_{i<j} w_i w_j (t_i - t_j)^2 is A Q - D^2: its slope in w_i is
// A b_i^2 + Q - 2 b_i D, in t_i 2 w_i (A b_i - D), the slope of the former times w_i.
// Source: Huang et al. 2024, arXiv:2403.17888, eq. 8-13 and the appendix on distortion, in a form without the inverse
// of a matrix: ours.
// V is float on a GPU and a vector of lanes on a CPU; F has the functions of one machine, and what its masks are.
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

// A surfel as kernels read it: the centre's x y, the axes, the depth, the area of the axes, e's slopes along x and y.
constexpr int kAxes = 2, kDepth = 8, kArea = 9, kSlopes = 10, kSheet = 12;

// The planes behind the features, and those of the state that backward needs, as in surfel_blend.h.
constexpr int kAlpha = 0, kExpected = 1, kMedian = 2, kDistortion = 3, kPlanes = 4;
constexpr int kLeft = 0, kFirst = 1, kMean = 2, kSquare = 3, kPlace = 4, kState = 5;

template <class V, class F> struct Crossing { // of a pixel's ray and a surfel
    V dx, dy, y_u, y_v, scale, inverse_e;     // scale: z / e
    V squared, depth;
    typename F::Mask met;                     // on the surfel's plane, not in the low-pass disc
};
template <class V, class F> NEURAL_HD Crossing<V, F> cross(const float* sheet, V x, V y, const F& f) {
    Crossing<V, F> c;
    const float* a = sheet + kAxes;
    c.dx = x - sheet[0], c.dy = y - sheet[1];
    c.y_u = a[3] * c.dx - a[1] * c.dy, c.y_v = a[0] * c.dy - a[2] * c.dx;
    c.inverse_e = f.inverse(sheet[kArea] + sheet[kSlopes] * c.dx + sheet[kSlopes + 1] * c.dy);
    c.scale = sheet[kDepth] * c.inverse_e;
    const V t = sheet[kArea] * c.scale;
    const V on_plane = (c.y_u * c.y_u + c.y_v * c.y_v) * (c.scale * c.scale);
    const V on_image = 2.0f * (c.dx * c.dx + c.dy * c.dy);
    c.met = f.both(f.above(t, V{}), f.at_least(on_image, on_plane)); // false of NaN
    c.squared = f.choose(c.met, on_plane, on_image), c.depth = f.choose(c.met, t, sheet[kDepth] - V{});
    return c;
}

// Of a pixel: what is left of it, the first depth, sums of weight times b and b^2.
template <class V> struct Totals {
    V left, first, mean, square;
};
// What the loss gains by the depth of a surfel, per weight: constant + b (linear + b bend).
template <class V> struct Gain {
    V constant, linear, bend;
};
template <class V> NEURAL_HD Gain<V> gain(const Totals<V>& p, V g_expected, V g_distortion) {
    return {g_expected * p.first + g_distortion * p.square, g_expected - 2.0f * g_distortion * p.mean,
            g_distortion * (1.0f - p.left)};
}
// What all surfels gain by their depths, less what the end of the pixel takes.
template <class V> NEURAL_HD V all_gains(const Totals<V>& p, const Gain<V>& g, V g_alpha) {
    return g.constant * (1.0f - p.left) + g.linear * p.mean + g.bend * p.square - g_alpha * p.left;
}

// Sums over the pixels of a surfel. P and Q are the gradients to y, E that to e.
template <class V> struct Moments {
    V slope;              // alpha dL/dalpha
    V x, y;               // dL/d centre
    V px, py, qx, qy;     // P and Q times d
    V e, ex, ey;          // E, and times d
    V z, area;            // dL/d depth and dL/d area of the axes, where they stand by themselves
};
constexpr int kMoments = 14; // and the sums of |dL/d centre|

// Adds what one pixel gives to the kMoments of a surfel, from v = alpha dL/dalpha and the gradient to the depth met.
template <class V, class F>
NEURAL_HD void add(V* sums, const float* sheet, float inverse_depth, const Crossing<V, F>& c, V v, V g_depth,
                   const F& f) {
    const float* a = sheet + kAxes;
    const V scale = f.or_zero(c.met, c.scale), on_image = f.choose(c.met, V{}, 2.0f * v);
    const V slope = -v * scale * scale, p = slope * c.y_u, q = slope * c.y_v;
    const V to_area = g_depth * scale, of_scale = p * c.y_u + q * c.y_v + to_area * sheet[kArea];
    const V e = f.or_zero(c.met, -of_scale * c.inverse_e);
    sums[10] += f.choose(c.met, of_scale * inverse_depth, g_depth), sums[11] += to_area;
    sums[0] += v, sums[7] += e, sums[8] += e * c.dx, sums[9] += e * c.dy;
    sums[3] += p * c.dx, sums[4] += p * c.dy, sums[5] += q * c.dx, sums[6] += q * c.dy;
    const V x = on_image * c.dx - p * a[3] + q * a[2] - e * sheet[kSlopes];
    const V y = on_image * c.dy + p * a[1] - q * a[0] - e * sheet[kSlopes + 1];
    sums[1] += x, sums[2] += y;
    sums[12] += f.abs(x), sums[13] += f.abs(y);
}
// What becomes of the moments in the axes; the others are gradients already.
template <class V> NEURAL_HD Axes<V> axes_gradients(const Moments<V>& m, const Axes<V>& a) {
    const V area = m.area + m.e;
    return {m.qy + a.vy * area - a.vz * m.ey, -m.py - a.uy * area + a.uz * m.ey,
            -m.qx - a.vx * area + a.vz * m.ex, m.px + a.ux * area - a.uz * m.ex,
            a.vx * m.ey - a.vy * m.ex, a.uy * m.ex - a.ux * m.ey};
}

} // namespace surfel
} // namespace neural
