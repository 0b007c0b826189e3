// Lenses: from a point in the camera (x right, y down, z forward) to the plane z = 1, and the gradient's way back.
// Distortion as in OpenCV: k1 k2 p1 p2 k3 k4 k5 k6 of the rational model, or k1 k2 k3 k4 of the fisheye.
// Source: OpenCV 4 documentation, "Camera Calibration and 3D Reconstruction" and "Fisheye camera model".
// V is float on a GPU and a vector of lanes on a CPU; F has sqrt and choose(mask, a, b) of that machine.
#pragma once
#include "platform.cuh"

namespace neural {
namespace lens {

struct Distortion {
    float k[8], fold; // fold: undistorted radius, or angle, from which on nothing is seen
};

// Angle in [0, pi] of a point at `radius` >= 0 from the axis and `z` along it; error below 3e-7 (Cephes' atanf).
template <class V, class F> NEURAL_HD V angle(V radius, V z, const F& f) {
    const V along = f.choose(z < 0.0f, -z, z);
    const auto steep = radius > along;
    const V below = f.choose(steep, radius, along);
    const V t = f.choose(steep, along, radius) / f.choose(below > 1e-30f, below, below * 0.0f + 1e-30f);
    const auto upper = t > 0.414213562f;
    const V r = f.choose(upper, (t - 1.0f) / (t + 1.0f), t), s = r * r;
    V a = r + r * s * (((8.05374449538e-2f * s - 1.38776856032e-1f) * s + 1.99777106478e-1f) * s - 3.33329491539e-1f);
    a = f.choose(upper, a + 0.785398163f, a);
    a = f.choose(steep, 1.570796327f - a, a);
    return f.choose(z < 0.0f, 3.141592654f - a, a);
}

// Each lens: what project keeps for backward; x, y: the place on the plane; `project` gives the mask of what is seen.
template <class V> struct OpenCV {
    V x, y;                      // the result
    V u, v, inverse_z;           // undistorted
    template <class F> NEURAL_HD auto project(const Distortion& d, const V* p, const F&) {
        inverse_z = 1.0f / p[2];
        u = p[0] * inverse_z, v = p[1] * inverse_z;
        const V r2 = u * u + v * v, radial = above(d, r2) / below(d, r2);
        x = u * radial + 2.0f * d.k[2] * u * v + d.k[3] * (r2 + 2.0f * u * u);
        y = v * radial + d.k[2] * (r2 + 2.0f * v * v) + 2.0f * d.k[3] * u * v;
        return (p[2] > 0.0f) & (r2 < d.fold * d.fold);
    }
    // Gradient to the point from that to (x, y).
    template <class F> NEURAL_HD void backward(const Distortion& d, const V*, V gx, V gy, const F&, V* grad) const {
        const V r2 = u * u + v * v, inverse = 1.0f / below(d, r2), radial = above(d, r2) * inverse;
        const V slope = (d.k[0] + r2 * (2.0f * d.k[1] + r2 * 3.0f * d.k[4]) -
                         radial * (d.k[5] + r2 * (2.0f * d.k[6] + r2 * 3.0f * d.k[7]))) * inverse;
        const V xx = radial + 2.0f * u * u * slope + 2.0f * d.k[2] * v + 6.0f * d.k[3] * u;
        const V yy = radial + 2.0f * v * v * slope + 6.0f * d.k[2] * v + 2.0f * d.k[3] * u;
        const V xy = 2.0f * u * v * slope + 2.0f * d.k[2] * u + 2.0f * d.k[3] * v;
        const V gu = (xx * gx + xy * gy) * inverse_z, gv = (xy * gx + yy * gy) * inverse_z;
        grad[0] = gu, grad[1] = gv, grad[2] = -(gu * u + gv * v);
    }
    static NEURAL_HD V above(const Distortion& d, V r2) { return 1.0f + r2 * (d.k[0] + r2 * (d.k[1] + r2 * d.k[4])); }
    static NEURAL_HD V below(const Distortion& d, V r2) { return 1.0f + r2 * (d.k[5] + r2 * (d.k[6] + r2 * d.k[7])); }
};

template <class V> struct Fisheye {
    V x, y;
    V radius, theta, ratio; // of the point; distorted angle / radius
    template <class F> NEURAL_HD auto project(const Distortion& d, const V* p, const F& f) {
        // Beside the axis rather than on it, by less than fp32 sees: the radius has no slope there.
        radius = f.sqrt(p[0] * p[0] + p[1] * p[1] + 1e-14f * p[2] * p[2]);
        theta = angle(radius, p[2], f);
        const V t2 = theta * theta;
        ratio = theta * (1.0f + t2 * (d.k[0] + t2 * (d.k[1] + t2 * (d.k[2] + t2 * d.k[3])))) / radius;
        x = p[0] * ratio, y = p[1] * ratio;
        return (theta < d.fold) & (radius < 1e18f); // whose square is finite
    }
    template <class F> NEURAL_HD void backward(const Distortion& d, const V* p, V gx, V gy, const F&, V* grad) const {
        const V t2 = theta * theta;
        const V slope = 1.0f + t2 * (3.0f * d.k[0] + t2 * (5.0f * d.k[1] + t2 * (7.0f * d.k[2] + t2 * 9.0f * d.k[3])));
        const V turn = slope / (radius * radius + p[2] * p[2]); // d(distorted angle) = turn (z d(radius) - radius dz)
        const V inverse = 1.0f / radius, to_ratio = gx * p[0] + gy * p[1];
        const V to_radius = to_ratio * (turn * p[2] - ratio) * inverse * inverse; // over the radius once more
        grad[0] = gx * ratio + to_radius * p[0], grad[1] = gy * ratio + to_radius * p[1];
        grad[2] = -to_ratio * turn;
    }
};

} // namespace lens
} // namespace neural
