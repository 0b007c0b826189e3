// One 3D Gaussian seen by one camera: its image as a 2D Gaussian, and the way back of the gradients.
// With mean m, unit quaternion q, scales s = exp(l), opacity o = sigmoid(u), world to camera [W | t]:
//   p = W m + t,  M = R(q) diag(s),  conic = (cov + blur I)^-1,
//   o' = o sqrt(max(det cov / det(cov + blur I), 0.005^2)) where antialiased,
// and cov, the covariance on the image, from p and M by `Linear` (here) or by `Unscented` (gaussian_unscented.cuh).
// Linear: cov = U U^T, U = J W M (2x3), det cov = |U_0 x U_1|^2, J the Jacobian of the projection at p, whose x/z and
// y/z are held within 15 % of the image around it.
// Source: Zwicker et al. 2001, "EWA Volume Splatting", eq. 17-31; Kerbl et al. 2023, arXiv:2308.04079, eq. 5; the
// compensation: Yu et al. 2024, arXiv:2311.16493 (Mip-Splatting), eq. 10; the extent: Radl et al. 2024,
// arXiv:2402.00525 (StopThePop), appendix B.2.
// V is float on a GPU and a vector of lanes on a CPU; M is what a comparison of V gives.
#pragma once
#include "common/lens.cuh"

namespace neural {
namespace projection {

constexpr float kMinAlpha = 1.0f / 255.0f;     // what is fainter is not drawn
constexpr float kMinCompensation = 2.5e-5f;    // 0.005^2
// Beyond these nothing is seen, as the gradients would leave fp32: extents in pixels, depth and standard deviations in
// scene units; a conic's entries; determinants of blurred covariances.
constexpr float kLargest = 1e12f, kSharpest = 1e8f, kLargestDet = 1e37f;

struct Camera {
    float w[9], t[3];              // world to camera
    float fx, fy, cx, cy;          // pixels
    float width, height, near_, far_, blur;
    int orthographic, antialiased;
    lens::Distortion distortion;
};

// From arrays as in gaussian_projection.h.
NEURAL_HD Camera camera_of(const float* w2c, const float* intrinsics, const float* distortion, float width,
                           float height, float near_, float far_, float blur, int antialiased, int model, float fold) {
    Camera k;
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) k.w[3 * i + j] = w2c[4 * i + j];
        k.t[i] = w2c[4 * i + 3];
    }
    k.fx = intrinsics[0], k.fy = intrinsics[1], k.cx = intrinsics[2], k.cy = intrinsics[3];
    k.width = width, k.height = height, k.near_ = near_, k.far_ = far_, k.blur = blur;
    k.antialiased = antialiased, k.orthographic = model == 1;
    for (int i = 0; i < 8; ++i) k.distortion.k[i] = distortion ? distortion[i] : 0.0f;
    k.distortion.fold = fold;
    return k;
}

// F has the functions of one machine: exp, log, sqrt of V, clamp(V, low, high) and choose(mask, a, b).
template <class V> struct Body { // the Gaussian in space
    V p[3], r[9], m[9];          // in the camera; R(q); R(q) diag(s)
    V unit[4], inverse_length;   // of the quaternion
    V size, sigmoid;             // size: sum of the scales
};

template <class V, class F> NEURAL_HD void body(const Camera& k, const V* mean, const V* quat, const V* log_scale,
                                                V logit, const F& f, Body<V>& s) {
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
    s.size = V{};
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        const V scale = f.exp(log_scale[j]);
        s.size = s.size + scale;
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) s.m[3 * i + j] = s.r[3 * i + j] * scale;
    }
    s.sigmoid = 1.0f / (1.0f + f.exp(-logit));
}

template <class V> struct Gradients {
    V mean[3], quat[4], log_scale[3], logit;
    V camera[16]; // rotation, translation, fx fy cx cy: the share of this Gaussian
};

// Both ways to a covariance offer
//   x, y, depth, a, b, c (the covariance is [[a, b], [b, c]]), det;
//   mask form(camera, body, f)                    fills them; false where nothing could be
//   backward(camera, body, up, f, dp, dm, share)  from gradients to them, to p, M and (rotation by M, intrinsics) share
template <class V> struct Plane { // a 2D covariance with its place; also the gradients to one
    V x, y, depth, a, b, c;
};

template <class V> struct Linear : Plane<V> {
    V det;
    V j00, j02, j11, j12, ux, uy, inverse_z; // Jacobian; x/z and y/z as it sees them
    V t0[3], t1[3], u0[3], u1[3];            // rows of J W and of U

    template <class F> NEURAL_HD auto form(const Camera& k, const Body<V>& s, const F& f) {
        const V zero = s.p[2] - s.p[2];
        if (k.orthographic) {
            inverse_z = zero + 1.0f;
            ux = uy = j02 = j12 = zero;
            j00 = zero + k.fx, j11 = zero + k.fy;
        } else {
            inverse_z = 1.0f / s.p[2];
            ux = f.clamp(s.p[0] * inverse_z, -(k.cx + 0.15f * k.width) / k.fx, (1.15f * k.width - k.cx) / k.fx);
            uy = f.clamp(s.p[1] * inverse_z, -(k.cy + 0.15f * k.height) / k.fy, (1.15f * k.height - k.cy) / k.fy);
            j00 = k.fx * inverse_z, j11 = k.fy * inverse_z;
            j02 = -j00 * ux, j12 = -j11 * uy;
        }
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) {
            t0[i] = j00 * k.w[i] + j02 * k.w[6 + i];
            t1[i] = j11 * k.w[3 + i] + j12 * k.w[6 + i];
        }
        NEURAL_UNROLL
        for (int j = 0; j < 3; ++j) {
            u0[j] = t0[0] * s.m[j] + t0[1] * s.m[3 + j] + t0[2] * s.m[6 + j];
            u1[j] = t1[0] * s.m[j] + t1[1] * s.m[3 + j] + t1[2] * s.m[6 + j];
        }
        this->x = j00 * s.p[0] + k.cx, this->y = j11 * s.p[1] + k.cy;
        this->depth = s.p[2];
        this->a = u0[0] * u0[0] + u0[1] * u0[1] + u0[2] * u0[2];
        this->b = u0[0] * u1[0] + u0[1] * u1[1] + u0[2] * u1[2];
        this->c = u1[0] * u1[0] + u1[1] * u1[1] + u1[2] * u1[2];
        const V n0 = u0[1] * u1[2] - u0[2] * u1[1];
        const V n1 = u0[2] * u1[0] - u0[0] * u1[2];
        const V n2 = u0[0] * u1[1] - u0[1] * u1[0];
        det = n0 * n0 + n1 * n1 + n2 * n2;
        return det >= 0.0f;
    }

    template <class F> NEURAL_HD void backward(const Camera& k, const Body<V>& s, const Plane<V>& up, const F& f,
                                               V* dp, V* dm, V* share) const {
        const V zero = s.p[2] - s.p[2];
        V dt0[3], dt1[3], du0[3], du1[3];
        NEURAL_UNROLL
        for (int j = 0; j < 3; ++j) {
            du0[j] = 2.0f * up.a * u0[j] + up.b * u1[j];
            du1[j] = 2.0f * up.c * u1[j] + up.b * u0[j];
        }
        V dj00 = zero, dj02 = zero, dj11 = zero, dj12 = zero;
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) {
            dt0[i] = du0[0] * s.m[3 * i] + du0[1] * s.m[3 * i + 1] + du0[2] * s.m[3 * i + 2];
            dt1[i] = du1[0] * s.m[3 * i] + du1[1] * s.m[3 * i + 1] + du1[2] * s.m[3 * i + 2];
            NEURAL_UNROLL
            for (int j = 0; j < 3; ++j) dm[3 * i + j] = t0[i] * du0[j] + t1[i] * du1[j];
            dj00 = dj00 + dt0[i] * k.w[i];
            dj02 = dj02 + dt0[i] * k.w[6 + i];
            dj11 = dj11 + dt1[i] * k.w[3 + i];
            dj12 = dj12 + dt1[i] * k.w[6 + i];
            share[i] = j00 * dt0[i];
            share[3 + i] = j11 * dt1[i];
            share[6 + i] = j02 * dt0[i] + j12 * dt1[i];
        }
        if (k.orthographic) {
            dp[0] = k.fx * up.x, dp[1] = k.fy * up.y, dp[2] = up.depth;
            share[12] = up.x * s.p[0] + dj00, share[13] = up.y * s.p[1] + dj11;
            share[14] = up.x, share[15] = up.y;
            return;
        }
        const V i = inverse_z, rx = s.p[0] * i, ry = s.p[1] * i;
        const auto free_x = rx == ux, free_y = ry == uy; // not held at the border
        const V dux = -j00 * dj02, duy = -j11 * dj12;
        const V drx = k.fx * up.x + f.choose(free_x, dux, zero), dry = k.fy * up.y + f.choose(free_y, duy, zero);
        dp[0] = drx * i, dp[1] = dry * i;
        dp[2] = up.depth - (drx * rx + dry * ry) * i - (dj00 * j00 + dj02 * j02 + dj11 * j11 + dj12 * j12) * i;
        const V held_x = f.choose(free_x, zero, dux), held_y = f.choose(free_y, zero, duy);
        share[12] = up.x * rx + (dj00 - dj02 * ux) * i - held_x * ux / k.fx;
        share[13] = up.y * ry + (dj11 - dj12 * uy) * i - held_y * uy / k.fy;
        share[14] = up.x - held_x / k.fx;
        share[15] = up.y - held_y / k.fy;
    }
};

template <class V> struct Image { // the 2D Gaussian; also the gradients to one
    V x, y, conic[3], opacity, depth, extent[2];
};

// What blur and antialiasing make of a covariance.
template <class V> struct Blurred {
    V det, inverse_det, share, compensation; // inverse_det: 0 where det is, which is not seen
};
template <class V, class Form, class F> NEURAL_HD Blurred<V> blurred(const Camera& k, const Form& s, const F& f) {
    Blurred<V> out;
    out.det = s.det + k.blur * (s.a + s.c) + k.blur * k.blur;
    const V zero{};
    out.inverse_det = f.choose(out.det > 0.0f, 1.0f / out.det, zero);
    out.share = s.det * out.inverse_det;
    out.compensation = zero + 1.0f;
    if (k.antialiased)
        out.compensation = f.sqrt(f.choose(out.share > kMinCompensation, out.share, zero + kMinCompensation));
    return out;
}

// What is seen, and whether it is (a mask): in front, with a direction, finite, bright enough, inside the image.
template <class Form, class V, class F>
NEURAL_HD auto image(const Camera& k, const V* mean, const V* quat, const V* log_scale, V logit, const F& f,
                     Image<V>& out) {
    Body<V> s;
    body(k, mean, quat, log_scale, logit, f, s);
    Form form;
    const auto formed = form.form(k, s, f);
    const Blurred<V> blur = blurred<V>(k, form, f);
    out.x = form.x, out.y = form.y, out.depth = form.depth;
    const V a = form.a + k.blur, c = form.c + k.blur, inverse = blur.inverse_det;
    out.conic[0] = c * inverse, out.conic[1] = -form.b * inverse, out.conic[2] = a * inverse;
    out.opacity = s.sigmoid * blur.compensation;
    const V brighter = f.choose(out.opacity > kMinAlpha, out.opacity, out.opacity * 0.0f + kMinAlpha);
    const V reach = f.sqrt(2.0f * f.log(brighter * 255.0f));
    out.extent[0] = reach * f.sqrt(a), out.extent[1] = reach * f.sqrt(c);
    // Each comparison is false of NaN.
    return formed & (out.depth >= k.near_) & (out.depth <= k.far_) & (out.opacity >= kMinAlpha) &
           (s.inverse_length < 1e15f) & (s.inverse_length > 1e-15f) & (out.depth < kLargest) & (s.size < kLargest) &
           (out.extent[0] < kLargest) & (out.extent[1] < kLargest) & (blur.det > 0.0f) & (blur.det < kLargestDet) &
           (out.conic[0] < kSharpest) & (out.conic[2] < kSharpest) &
           (out.x + out.extent[0] > 0.0f) & (out.x - out.extent[0] < k.width) &
           (out.y + out.extent[1] > 0.0f) & (out.y - out.extent[1] < k.height);
}

// From the gradient to the rotation R(q).
template <class V> NEURAL_HD void rotation_backward(const Body<V>& s, const V* dr, Gradients<V>& g) {
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
}
// From the gradient to p; adds to the camera's rotation.
template <class V> NEURAL_HD void place_backward(const Camera& k, const V* mean, const V* dp, Gradients<V>& g) {
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) {
        g.camera[9 + j] = dp[j];
        g.mean[j] = k.w[j] * dp[0] + k.w[3 + j] * dp[1] + k.w[6 + j] * dp[2];
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) g.camera[3 * j + i] = g.camera[3 * j + i] + dp[j] * mean[i];
    }
}

// From gradients of x, y, conic, opacity and depth of `out`, of which only the conic is read. Of what is not seen it
// may give anything.
template <class Form, class V, class F>
NEURAL_HD void backward(const Camera& k, const V* mean, const V* quat, const V* log_scale, V logit, const V* conic,
                        const Image<V>& grad, const F& f, Gradients<V>& g) {
    Body<V> s;
    body(k, mean, quat, log_scale, logit, f, s);
    Form form;
    form.form(k, s, f);
    const Blurred<V> blur = blurred<V>(k, form, f);
    // conic -> covariance: -Q G Q with half of the middle entry's gradient on each side
    const V A = conic[0], B = conic[1], C = conic[2];
    const V half = 0.5f * grad.conic[1];
    const V v0 = A * grad.conic[0] + B * half, v1 = A * half + B * grad.conic[2];
    const V w0 = B * grad.conic[0] + C * half, w1 = B * half + C * grad.conic[2];
    Plane<V> up;
    up.x = grad.x, up.y = grad.y, up.depth = grad.depth;
    up.a = -(v0 * A + v1 * B), up.b = -2.0f * (v0 * B + v1 * C), up.c = -(w0 * B + w1 * C);
    g.logit = grad.opacity * blur.compensation * s.sigmoid * (1.0f - s.sigmoid);
    if (k.antialiased) {
        const V zero = s.sigmoid - s.sigmoid;
        const V slope = f.choose(blur.share > kMinCompensation,
                                 grad.opacity * s.sigmoid * 0.5f * blur.inverse_det / blur.compensation, zero);
        // d(det / blurred det): their difference is blur (a + c + blur), so that nothing cancels
        const V rest = k.blur * (form.a + form.c + k.blur) * blur.inverse_det;
        up.a = up.a + slope * (form.c * rest - blur.share * k.blur);
        up.c = up.c + slope * (form.a * rest - blur.share * k.blur);
        up.b = up.b - slope * 2.0f * form.b * rest;
    }
    V dp[3], dr[9];
    form.backward(k, s, up, f, dp, dr, g.camera);
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j) { // dr is the gradient to M = R diag(s) here; below, to R
        g.log_scale[j] = dr[j] * s.m[j] + dr[3 + j] * s.m[3 + j] + dr[6 + j] * s.m[6 + j];
        const V scale = s.r[j] * s.m[j] + s.r[3 + j] * s.m[3 + j] + s.r[6 + j] * s.m[6 + j]; // R's columns are units
        NEURAL_UNROLL
        for (int i = 0; i < 3; ++i) dr[3 * i + j] = dr[3 * i + j] * scale;
    }
    rotation_backward(s, dr, g);
    place_backward(k, mean, dp, g);
}

} // namespace projection
} // namespace neural
