// One surfel seen by a pinhole camera: the map from its plane to the image, what it may cover, and the way back of the
// gradients. With p = W m + t in the camera, axes a_j = s_j W R_j (j = u, v), and the centre's image c = (fx px / z + cx,
// fy py / z + cy), the point at (u, v) is seen at c + A (u, v) / (z + w . (u, v)) with
//   A_xj = fx (a_jx - a_jz px / z),   A_yj = fy (a_jy - a_jz py / z),   w_j = a_jz.
// The cover: with r standard deviations to alpha = 1/255, the circle of radius r is seen as an ellipse around
// c - r^2 A w / (z^2 g), g = 1 - r^2 |w|^2 / z^2, with the matrix r^2 A A^T / (z^2 g) + offset offset^T; its determinant
// is (r^2 det A)^2 / (z^4 g^3). The low-pass disc around c, of radius r / sqrt(2), lies inside once r^2 / (2 g) is added
// to its diagonal: c is at the distance sqrt(1 - g) of the ellipse's own from its centre.
// Source: Huang et al. 2024, arXiv:2403.17888, eq. 4-9; the cover: ours.
#pragma once
#include "gaussian_projection.cuh"

namespace neural {
namespace surfel {

constexpr float kLeastRoom = 1e-2f; // of g where a cover is an ellipse; below it, the whole image
constexpr float kSwell = 1.0001f;   // of covers, against rounding
constexpr float kFlat = 1e-12f;     // conic of a cover that is the whole image

template <class V> struct Image { // also the gradients to one, but for the cover
    V x, y, across[4], along[2], depth, normal[3], opacity;
    V centre[2], conic[3], extent[2];
};

template <class V> struct Plane { // of the surfel, in the camera
    V u[3], v[3], normal[3];      // axes to one standard deviation; unit normal, not turned to the camera
    V inverse_z, rx, ry, sign;
};
template <class V, class F>
NEURAL_HD Plane<V> plane(const projection::Camera& k, const projection::Body<V>& s, const F& f) {
    Plane<V> out;
    const auto turn = [&](const V* m, int j, V* to) {
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) to[i] = k.w[3 * i] * m[j] + k.w[3 * i + 1] * m[3 + j] + k.w[3 * i + 2] * m[6 + j];
    };
    turn(s.m, 0, out.u), turn(s.m, 1, out.v), turn(s.r, 2, out.normal);
    out.inverse_z = 1.0f / s.p[2];
    out.rx = s.p[0] * out.inverse_z, out.ry = s.p[1] * out.inverse_z;
    const V one = s.p[2] * 0.0f + 1.0f;
    out.sign = f.choose(out.normal[0] * s.p[0] + out.normal[1] * s.p[1] + out.normal[2] * s.p[2] < 0.0f, one, -one);
    return out;
}

template <class V, class F> NEURAL_HD void cover(const projection::Camera& k, const F& f, Image<V>& out) {
    const V i = 1.0f / out.depth, zero = i * 0.0f;
    const V brighter = f.choose(out.opacity > projection::kMinAlpha, out.opacity, zero + projection::kMinAlpha);
    const V reach2 = 2.0f * f.log(brighter * 255.0f);
    const V tu = out.along[0] * i, tv = out.along[1] * i;
    const V room = 1.0f - reach2 * (tu * tu + tv * tv), inverse = 1.0f / room;
    const V xu = out.across[0] * i, xv = out.across[1] * i, yu = out.across[2] * i, yv = out.across[3] * i;
    const V sx = -(xu * tu + xv * tv) * inverse, sy = -(yu * tu + yv * tv) * inverse;
    const V low = 0.5f * inverse, area = xu * yv - xv * yu;
    const V xx = (xu * xu + xv * xv) * inverse + reach2 * (sx * sx);
    const V xy = (xu * yu + xv * yv) * inverse + reach2 * (sx * sy);
    const V yy = (yu * yu + yv * yv) * inverse + reach2 * (sy * sy);
    const V det = area * area * inverse * inverse * inverse + (xx + yy + low) * low;
    const V sharp = 1.0f / (det * kSwell);
    const auto ellipse = room >= kLeastRoom;
    const auto put = [&](V& to, V value, float otherwise) { to = f.choose(ellipse, value, zero + otherwise); };
    put(out.centre[0], out.x + reach2 * sx, 0.5f * k.width);
    put(out.centre[1], out.y + reach2 * sy, 0.5f * k.height);
    put(out.conic[0], (yy + low) * sharp, kFlat);
    put(out.conic[1], -xy * sharp, 0.0f);
    put(out.conic[2], (xx + low) * sharp, kFlat);
    put(out.extent[0], f.sqrt(kSwell * reach2 * (xx + low)), 0.5f * k.width);
    put(out.extent[1], f.sqrt(kSwell * reach2 * (yy + low)), 0.5f * k.height);
}

// What is seen, and whether it is (a mask).
template <class V, class F>
NEURAL_HD auto image(const projection::Camera& k, const V* mean, const V* quat, const V* log_scale, V logit, const F& f,
                     Image<V>& out) {
    projection::Body<V> s;
    projection::body(k, mean, quat, log_scale, logit, f, s);
    const Plane<V> t = plane(k, s, f);
    out.x = k.fx * t.rx + k.cx, out.y = k.fy * t.ry + k.cy;
    out.across[0] = k.fx * (t.u[0] - t.rx * t.u[2]), out.across[1] = k.fx * (t.v[0] - t.rx * t.v[2]);
    out.across[2] = k.fy * (t.u[1] - t.ry * t.u[2]), out.across[3] = k.fy * (t.v[1] - t.ry * t.v[2]);
    out.along[0] = t.u[2], out.along[1] = t.v[2];
    out.depth = s.p[2], out.opacity = s.sigmoid;
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) out.normal[i] = t.sign * t.normal[i];
    cover(k, f, out);
    // Each comparison is false of NaN.
    return (out.depth >= k.near_) & (out.depth <= k.far_) & (out.depth < projection::kLargest) &
           (out.opacity >= projection::kMinAlpha) & (s.inverse_length < 1e15f) & (s.inverse_length > 1e-15f) &
           (s.size < projection::kLargest) & (out.extent[0] < projection::kLargest) &
           (out.extent[1] < projection::kLargest) & (out.centre[0] + out.extent[0] > 0.0f) &
           (out.centre[0] - out.extent[0] < k.width) & (out.centre[1] + out.extent[1] > 0.0f) &
           (out.centre[1] - out.extent[1] < k.height);
}

// From gradients of all but the cover. Of what is not seen it may give anything.
template <class V, class F>
NEURAL_HD void backward(const projection::Camera& k, const V* mean, const V* quat, const V* log_scale, V logit,
                        const Image<V>& up, const F& f, projection::Gradients<V>& g) {
    projection::Body<V> s;
    projection::body(k, mean, quat, log_scale, logit, f, s);
    const Plane<V> t = plane(k, s, f);
    const V xu = k.fx * up.across[0], xv = k.fx * up.across[1], yu = k.fy * up.across[2], yv = k.fy * up.across[3];
    const V du[3] = {xu, yu, up.along[0] - t.rx * xu - t.ry * yu}; // to the axes in the camera
    const V dv[3] = {xv, yv, up.along[1] - t.rx * xv - t.ry * yv};
    const V drx = k.fx * up.x - (xu * t.u[2] + xv * t.v[2]), dry = k.fy * up.y - (yu * t.u[2] + yv * t.v[2]);
    const V dp[3] = {drx * t.inverse_z, dry * t.inverse_z, up.depth - (drx * t.rx + dry * t.ry) * t.inverse_z};
    g.camera[12] = up.x * t.rx + up.across[0] * (t.u[0] - t.rx * t.u[2]) + up.across[1] * (t.v[0] - t.rx * t.v[2]);
    g.camera[13] = up.y * t.ry + up.across[2] * (t.u[1] - t.ry * t.u[2]) + up.across[3] * (t.v[1] - t.ry * t.v[2]);
    g.camera[14] = up.x, g.camera[15] = up.y;
    const V scale_u = s.r[0] * s.m[0] + s.r[3] * s.m[3] + s.r[6] * s.m[6]; // R's columns are units
    const V scale_v = s.r[1] * s.m[1] + s.r[4] * s.m[4] + s.r[7] * s.m[7];
    V dr[9];
    g.log_scale[0] = g.log_scale[1] = g.log_scale[2] = s.p[2] * 0.0f;
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) {
        const V to_u = k.w[i] * du[0] + k.w[3 + i] * du[1] + k.w[6 + i] * du[2];
        const V to_v = k.w[i] * dv[0] + k.w[3 + i] * dv[1] + k.w[6 + i] * dv[2];
        const V to_n = k.w[i] * up.normal[0] + k.w[3 + i] * up.normal[1] + k.w[6 + i] * up.normal[2];
        g.log_scale[0] = g.log_scale[0] + to_u * s.m[3 * i], g.log_scale[1] = g.log_scale[1] + to_v * s.m[3 * i + 1];
        dr[3 * i] = to_u * scale_u, dr[3 * i + 1] = to_v * scale_v, dr[3 * i + 2] = to_n * t.sign;
        NEURAL_UNROLL
        for (int j = 0; j < 3; ++j)
            g.camera[3 * j + i] = du[j] * s.m[3 * i] + dv[j] * s.m[3 * i + 1] + t.sign * up.normal[j] * s.r[3 * i + 2];
    }
    g.logit = up.opacity * s.sigmoid * (1.0f - s.sigmoid);
    projection::rotation_backward(s, dr, g);
    projection::place_backward(k, mean, dp, g);
}

} // namespace surfel
} // namespace neural
