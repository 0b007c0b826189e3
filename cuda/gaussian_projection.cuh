// One 3D Gaussian seen by one camera: its linear (EWA) image as a 2D Gaussian, and the way back of the gradients.
// With mean m, unit quaternion q, scales s = exp(l), opacity o = sigmoid(u), world to camera [W | t]:
//   p = W m + t,  U = J W R(q) diag(s)  (2x3),  cov = U U^T,  det cov = |U_0 x U_1|^2,
//   conic = (cov + blur I)^-1,  o' = o sqrt(max(det cov / det(cov + blur I), 0.005^2)) where antialiased,
// J the Jacobian of the projection at p, whose x/z and y/z are held within 15 % of the image around it.
// Source: Zwicker et al. 2001, "EWA Volume Splatting", eq. 17-31; Kerbl et al. 2023, arXiv:2308.04079, eq. 5; the
// compensation: Yu et al. 2024, arXiv:2311.16493 (Mip-Splatting), eq. 9; the extent: Radl et al. 2024,
// arXiv:2402.00525 (StopThePop), appendix B.2.
// V is float on a GPU and a vector of lanes on a CPU; M is what a comparison of V gives.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace projection {

constexpr float kMinAlpha = 1.0f / 255.0f;     // what is fainter is not drawn
constexpr float kMinCompensation = 2.5e-5f;    // 0.005^2
constexpr float kShortest = 1e-30f;            // squared length of a quaternion that has no direction

struct Camera {
    float w[9], t[3];              // world to camera
    float fx, fy, cx, cy;          // pixels
    float width, height, near_, far_, blur;
    int orthographic, antialiased;
};

// F has the functions of one machine: exp, log, sqrt of V, clamp(V, low, high) and choose(mask, a, b).
template <class V> struct Shape { // everything between parameters and image that both directions need
    V p[3], r[9], m[9];           // in the camera; R(q); R(q) diag(s)
    V unit[4], inverse_length;    // of the quaternion
    V j00, j02, j11, j12, ux, uy; // Jacobian; x/z and y/z as it sees them
    V t0[3], t1[3], u0[3], u1[3]; // rows of J W and of U
    V a, b, c, det0, det1, compensation, sigmoid;
    V inverse_z;
};

template <class V, class F> NEURAL_HD void shape(const Camera& k, const V* mean, const V* quat, const V* log_scale,
                                                 V logit, const F& f, Shape<V>& s) {
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i)
        s.p[i] = k.w[3 * i] * mean[0] + k.w[3 * i + 1] * mean[1] + k.w[3 * i + 2] * mean[2] + k.t[i];
    const V length2 = quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3];
    s.inverse_length = 1.0f / f.sqrt(length2);
    NEURAL_UNROLL
    for (int i = 0; i < 4; ++i) s.unit[i] = quat[i] * s.inverse_length;
    const V w = s.unit[0], x = s.unit[1], y = s.unit[2], z = s.unit[3];
    s.r[0] = 1.0f - 2.0f * (y * y + z * z), s.r[1] = 2.0f * (x * y - w * z), s.r[2] = 2.0f * (x * z + w * y);
    s.r[3] = 2.0f * (x * y + w * z), s.r[4] = 1.0f - 2.0f * (x * x + z * z), s.r[5] = 2.0f * (y * z - w * x);
    s.r[6] = 2.0f * (x * z - w * y), s.r[7] = 2.0f * (y * z + w * x), s.r[8] = 1.0f - 2.0f * (x * x + y * y);
    V scale[3];
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) scale[j] = f.exp(log_scale[j]);
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) {
        NEURAL_UNROLL
        for (int j = 0; j < 3; ++j) s.m[3 * i + j] = s.r[3 * i + j] * scale[j];
    }
    const V zero = s.p[2] - s.p[2];
    if (k.orthographic) {
        s.inverse_z = zero + 1.0f;
        s.ux = s.uy = s.j02 = s.j12 = zero;
        s.j00 = zero + k.fx, s.j11 = zero + k.fy;
    } else {
        s.inverse_z = 1.0f / s.p[2];
        s.ux = f.clamp(s.p[0] * s.inverse_z, -(k.cx + 0.15f * k.width) / k.fx, (1.15f * k.width - k.cx) / k.fx);
        s.uy = f.clamp(s.p[1] * s.inverse_z, -(k.cy + 0.15f * k.height) / k.fy, (1.15f * k.height - k.cy) / k.fy);
        s.j00 = k.fx * s.inverse_z, s.j11 = k.fy * s.inverse_z;
        s.j02 = -s.j00 * s.ux, s.j12 = -s.j11 * s.uy;
    }
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) {
        s.t0[i] = s.j00 * k.w[i] + s.j02 * k.w[6 + i];
        s.t1[i] = s.j11 * k.w[3 + i] + s.j12 * k.w[6 + i];
    }
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        s.u0[j] = s.t0[0] * s.m[j] + s.t0[1] * s.m[3 + j] + s.t0[2] * s.m[6 + j];
        s.u1[j] = s.t1[0] * s.m[j] + s.t1[1] * s.m[3 + j] + s.t1[2] * s.m[6 + j];
    }
    s.a = s.u0[0] * s.u0[0] + s.u0[1] * s.u0[1] + s.u0[2] * s.u0[2];
    s.b = s.u0[0] * s.u1[0] + s.u0[1] * s.u1[1] + s.u0[2] * s.u1[2];
    s.c = s.u1[0] * s.u1[0] + s.u1[1] * s.u1[1] + s.u1[2] * s.u1[2];
    const V n0 = s.u0[1] * s.u1[2] - s.u0[2] * s.u1[1];
    const V n1 = s.u0[2] * s.u1[0] - s.u0[0] * s.u1[2];
    const V n2 = s.u0[0] * s.u1[1] - s.u0[1] * s.u1[0];
    s.det0 = n0 * n0 + n1 * n1 + n2 * n2;
    s.det1 = s.det0 + k.blur * (s.a + s.c) + k.blur * k.blur;
    s.sigmoid = 1.0f / (1.0f + f.exp(-logit));
    const V share = s.det0 / s.det1;
    s.compensation = k.antialiased ? f.sqrt(f.choose(share > kMinCompensation, share, zero + kMinCompensation))
                                   : zero + 1.0f;
}

template <class V> struct Image { // the 2D Gaussian
    V x, y, conic[3], opacity, depth, extent[2];
};

// What is seen, and whether it is (a mask): in front, with a direction, finite, bright enough, inside the image.
template <class V, class F> NEURAL_HD auto image(const Camera& k, const Shape<V>& s, const F& f, Image<V>& out) {
    out.x = (k.orthographic ? k.fx * s.p[0] : s.j00 * s.p[0]) + k.cx;
    out.y = (k.orthographic ? k.fy * s.p[1] : s.j11 * s.p[1]) + k.cy;
    out.depth = s.p[2];
    const V a = s.a + k.blur, c = s.c + k.blur, inverse = 1.0f / s.det1;
    out.conic[0] = c * inverse, out.conic[1] = -s.b * inverse, out.conic[2] = a * inverse;
    out.opacity = s.sigmoid * s.compensation;
    const V reach = f.sqrt(2.0f * f.log(f.choose(out.opacity > kMinAlpha, out.opacity, out.opacity * 0.0f + kMinAlpha) *
                                        255.0f));
    out.extent[0] = reach * f.sqrt(a), out.extent[1] = reach * f.sqrt(c);
    // Each comparison is false of NaN. Extents below 1e15: what is larger has no usable inverse in fp32.
    return (s.p[2] >= k.near_) & (s.p[2] <= k.far_) & (out.opacity >= kMinAlpha) & (s.inverse_length < 1e15f) &
           (s.inverse_length > 1e-15f) & (out.extent[0] < 1e15f) & (out.extent[1] < 1e15f) & (s.det1 > 0.0f) &
           (s.det1 < 1e37f) & (out.x + out.extent[0] > 0.0f) & (out.x - out.extent[0] < k.width) &
           (out.y + out.extent[1] > 0.0f) & (out.y - out.extent[1] < k.height);
}

template <class V> struct Gradients {
    V mean[3], quat[4], log_scale[3], logit;
    V camera[16]; // rotation, translation, fx fy cx cy: the share of this Gaussian
};

// From gradients of x, y, conic, opacity and depth. Call it only for what is seen.
template <class V, class F> NEURAL_HD void backward(const Camera& k, const V* mean, const Shape<V>& s,
                                                    const Image<V>& out, const Image<V>& up, const F& f,
                                                    Gradients<V>& g) {
    const V zero = s.p[2] - s.p[2];
    // conic -> cov: -Q G Q with half of the middle entry's gradient on each side
    const V A = out.conic[0], B = out.conic[1], C = out.conic[2];
    const V half = 0.5f * up.conic[1];
    const V v0 = A * up.conic[0] + B * half, v1 = A * half + B * up.conic[2];
    const V w0 = B * up.conic[0] + C * half, w1 = B * half + C * up.conic[2];
    V da = -(v0 * A + v1 * B), db = -2.0f * (v0 * B + v1 * C), dc = -(w0 * B + w1 * C);
    g.logit = up.opacity * s.compensation * s.sigmoid * (1.0f - s.sigmoid);
    if (k.antialiased) {
        const V share = s.det0 / s.det1;
        const V slope = f.choose(share > kMinCompensation, up.opacity * s.sigmoid * 0.5f / (s.compensation * s.det1),
                                 zero);
        // d(det0 / det1): det1 - det0 = blur (a + c + blur), so that nothing cancels
        const V rest = k.blur * (s.a + s.c + k.blur) / s.det1;
        da = da + slope * (s.c * rest - share * k.blur);
        dc = dc + slope * (s.a * rest - share * k.blur);
        db = db - slope * 2.0f * s.b * rest;
    }
    V du0[3], du1[3];
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        du0[j] = 2.0f * da * s.u0[j] + db * s.u1[j];
        du1[j] = 2.0f * dc * s.u1[j] + db * s.u0[j];
    }
    V dr[9], dt0[3], dt1[3];
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) {
        dt0[i] = du0[0] * s.m[3 * i] + du0[1] * s.m[3 * i + 1] + du0[2] * s.m[3 * i + 2];
        dt1[i] = du1[0] * s.m[3 * i] + du1[1] * s.m[3 * i + 1] + du1[2] * s.m[3 * i + 2];
    }
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        V along = zero;
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) {
            dr[3 * i + j] = s.t0[i] * du0[j] + s.t1[i] * du1[j]; // dM, for now
            along = along + dr[3 * i + j] * s.m[3 * i + j];
        }
        g.log_scale[j] = along;
    }
    // dR = dM diag(s): the scale is the length of a column of M over that of R, which is exp(l) itself
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        const V scale = s.r[j] * s.m[j] + s.r[3 + j] * s.m[3 + j] + s.r[6 + j] * s.m[6 + j];
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) dr[3 * i + j] = dr[3 * i + j] * scale;
    }
    const V w = s.unit[0], x = s.unit[1], y = s.unit[2], z = s.unit[3];
    const V d[4] = {
        2.0f * (x * (dr[7] - dr[5]) + y * (dr[2] - dr[6]) + z * (dr[3] - dr[1])),
        2.0f * (-2.0f * x * (dr[4] + dr[8]) + y * (dr[3] + dr[1]) + z * (dr[6] + dr[2]) + w * (dr[7] - dr[5])),
        2.0f * (x * (dr[3] + dr[1]) - 2.0f * y * (dr[0] + dr[8]) + z * (dr[7] + dr[5]) + w * (dr[2] - dr[6])),
        2.0f * (x * (dr[6] + dr[2]) + y * (dr[7] + dr[5]) - 2.0f * z * (dr[0] + dr[4]) + w * (dr[3] - dr[1])),
    };
    const V radial = d[0] * w + d[1] * x + d[2] * y + d[3] * z;
    NEURAL_UNROLL
    for (int i = 0; i < 4; ++i) g.quat[i] = (d[i] - s.unit[i] * radial) * s.inverse_length;
    // rows of J W -> J and W
    V dj00 = zero, dj02 = zero, dj11 = zero, dj12 = zero;
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) {
        dj00 = dj00 + dt0[i] * k.w[i];
        dj02 = dj02 + dt0[i] * k.w[6 + i];
        dj11 = dj11 + dt1[i] * k.w[3 + i];
        dj12 = dj12 + dt1[i] * k.w[6 + i];
        g.camera[i] = s.j00 * dt0[i];
        g.camera[3 + i] = s.j11 * dt1[i];
        g.camera[6 + i] = s.j02 * dt0[i] + s.j12 * dt1[i];
    }
    V dp[3];
    if (k.orthographic) {
        dp[0] = k.fx * up.x, dp[1] = k.fy * up.y, dp[2] = up.depth;
        g.camera[12] = up.x * s.p[0] + dj00, g.camera[13] = up.y * s.p[1] + dj11;
        g.camera[14] = up.x, g.camera[15] = up.y;
    } else {
        const V i = s.inverse_z, rx = s.p[0] * i, ry = s.p[1] * i;
        const auto free_x = rx == s.ux, free_y = ry == s.uy; // not held at the border
        const V dux = -s.j00 * dj02, duy = -s.j11 * dj12;
        const V drx = k.fx * up.x + f.choose(free_x, dux, zero), dry = k.fy * up.y + f.choose(free_y, duy, zero);
        dp[0] = drx * i, dp[1] = dry * i;
        dp[2] = up.depth - (drx * rx + dry * ry) * i - (dj00 * s.j00 + dj02 * s.j02 + dj11 * s.j11 + dj12 * s.j12) * i;
        const V held_x = f.choose(free_x, zero, dux), held_y = f.choose(free_y, zero, duy);
        g.camera[12] = up.x * rx + (dj00 - dj02 * s.ux) * i - held_x * s.ux / k.fx;
        g.camera[13] = up.y * ry + (dj11 - dj12 * s.uy) * i - held_y * s.uy / k.fy;
        g.camera[14] = up.x - held_x / k.fx;
        g.camera[15] = up.y - held_y / k.fy;
    }
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        g.camera[9 + j] = dp[j];
        g.mean[j] = k.w[j] * dp[0] + k.w[3 + j] * dp[1] + k.w[6 + j] * dp[2];
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) g.camera[3 * j + i] = g.camera[3 * j + i] + dp[j] * mean[i];
    }
}

} // namespace projection
} // namespace neural
