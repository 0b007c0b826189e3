// The covariance of a Gaussian behind a lens, from the images of seven points: its centre p and p +- 0.1 sqrt(3) times
// each of its semi-axes (the unscented transform with alpha = 0.1, beta = 2, kappa = 0). With D the offset of a point's
// image from that of the centre, w = 1 / 0.06, and because the weights of a mean add up to 1,
//   mean = image(p) + E, E = w sum D,   covariance = w sum D D^T + (beta - alpha^2) E E^T,
// which cannot be negative, and loses no digits to the centre's weight of -99.
// Source: Wu et al. 2025, "3DGUT", arXiv:2412.12507, eq. 6-10; Wan and van der Merwe 2000, "The Unscented Kalman Filter".
#pragma once
#include "gaussian_projection.cuh"

namespace neural {
namespace projection {

constexpr float kSpread = 0.17320508075688773f; // alpha sqrt(D + kappa), D = 3
constexpr float kWeight = 1.0f / 0.06f;
constexpr float kCentre = 1.99f; // beta - alpha^2

// Lens: lens::OpenCV<V> or lens::Fisheye<V>. The depth of a fisheye is the distance.
template <class V, class Lens, bool ByDistance> struct Unscented : Plane<V> {
    V det;
    V axes[9];               // W M
    Lens middle;             // the image of the centre, on the plane
    V dx[6], dy[6], ex, ey;  // D of +- the first axis, the second, the third; E: all on the plane

    template <class F> NEURAL_HD auto form(const Camera& k, const Body<V>& s, const F& f) {
        auto seen = middle.project(k.distortion, s.p, f);
        const V zero = s.p[2] - s.p[2];
        V xx = zero, xy = zero, yy = zero;
        ex = ey = zero;
        NEURAL_UNROLL
        for (int i = 0; i < 6; ++i) {
            if (i % 2 == 0) {
                NEURAL_UNROLL
                for (int r = 0; r < 3; ++r)
                    axes[3 * r + i / 2] = k.w[3 * r] * s.m[i / 2] + k.w[3 * r + 1] * s.m[3 + i / 2] +
                                          k.w[3 * r + 2] * s.m[6 + i / 2];
            }
            V point[3];
            Lens other;
            around(s, i, point);
            seen = seen & other.project(k.distortion, point, f);
            dx[i] = other.x - middle.x, dy[i] = other.y - middle.y;
            ex = ex + kWeight * dx[i], ey = ey + kWeight * dy[i];
            xx = xx + kWeight * dx[i] * dx[i], xy = xy + kWeight * dx[i] * dy[i], yy = yy + kWeight * dy[i] * dy[i];
        }
        this->x = k.fx * (middle.x + ex) + k.cx, this->y = k.fy * (middle.y + ey) + k.cy;
        this->depth = ByDistance ? f.sqrt(s.p[0] * s.p[0] + s.p[1] * s.p[1] + s.p[2] * s.p[2]) : s.p[2];
        this->a = k.fx * k.fx * (xx + kCentre * ex * ex);
        this->b = k.fx * k.fy * (xy + kCentre * ex * ey);
        this->c = k.fy * k.fy * (yy + kCentre * ey * ey);
        det = this->a * this->c - this->b * this->b;
        det = f.choose(det > 0.0f, det, zero);
        return seen;
    }

    template <class F> NEURAL_HD void backward(const Camera& k, const Body<V>& s, const Plane<V>& up, const F& f,
                                               V* dp, V* dm, V* share) const {
        const V da = k.fx * k.fx * up.a, db = k.fx * k.fy * up.b, dc = k.fy * k.fy * up.c; // on the plane
        const V to_ex = k.fx * up.x + kCentre * (2.0f * da * ex + db * ey);
        const V to_ey = k.fy * up.y + kCentre * (2.0f * dc * ey + db * ex);
        V to_x = k.fx * up.x, to_y = k.fy * up.y, daxes[9];
        dp[0] = dp[1] = dp[2] = s.p[2] - s.p[2];
        NEURAL_UNROLL
        for (int i = 0; i < 6; ++i) {
            const V gx = kWeight * (2.0f * da * dx[i] + db * dy[i] + to_ex);
            const V gy = kWeight * (2.0f * dc * dy[i] + db * dx[i] + to_ey);
            to_x = to_x - gx, to_y = to_y - gy;
            V point[3], grad[3];
            Lens other;
            around(s, i, point);
            other.project(k.distortion, point, f);
            other.backward(k.distortion, point, gx, gy, f, grad);
            NEURAL_UNROLL
            for (int r = 0; r < 3; ++r) {
                dp[r] = dp[r] + grad[r];
                if (i % 2 == 0) daxes[3 * r + i / 2] = kSpread * grad[r];
                else daxes[3 * r + i / 2] = daxes[3 * r + i / 2] - kSpread * grad[r];
            }
        }
        V grad[3];
        middle.backward(k.distortion, s.p, to_x, to_y, f, grad);
        NEURAL_UNROLL
        for (int r = 0; r < 3; ++r)
            dp[r] = dp[r] + grad[r] + (ByDistance ? up.depth * s.p[r] / this->depth : r == 2 ? up.depth : up.depth * 0.0f);
        NEURAL_UNROLL
        for (int r = 0; r < 3; ++r) {
            NEURAL_UNROLL
            for (int j = 0; j < 3; ++j) {
                dm[3 * r + j] = k.w[r] * daxes[j] + k.w[3 + r] * daxes[3 + j] + k.w[6 + r] * daxes[6 + j];
                share[3 * r + j] = daxes[3 * r] * s.m[3 * j] + daxes[3 * r + 1] * s.m[3 * j + 1] +
                                   daxes[3 * r + 2] * s.m[3 * j + 2];
            }
        }
        share[12] = up.x * (middle.x + ex) + (2.0f * up.a * this->a + up.b * this->b) / k.fx;
        share[13] = up.y * (middle.y + ey) + (2.0f * up.c * this->c + up.b * this->b) / k.fy;
        share[14] = up.x, share[15] = up.y;
    }

    // The i-th point beside the centre.
    NEURAL_HD void around(const Body<V>& s, int i, V* point) const {
        const float spread = i % 2 == 0 ? kSpread : -kSpread;
        NEURAL_UNROLL
        for (int r = 0; r < 3; ++r) point[r] = s.p[r] + spread * axes[3 * r + i / 2];
    }
};

} // namespace projection
} // namespace neural
