// Gaussians over one pixel, near to far. At the offset (dx, dy) of the pixel's centre,
//   alpha = min(0.99, o exp(-(A dx^2 + C dy^2) / 2 - B dx dy)),   left out if below 1/255,
//   color += T alpha c,   T *= 1 - alpha,   stopping before T would fall below 1e-4 (that Gaussian is not added).
// With G the gradient of the colour and g_a that of 1 - T,  S_i = sum_{j>i} T_j alpha_j (c_j G) + T_end (background G - g_a):
//   dL/dalpha_i = T_i (c_i G) - S_i / (1 - alpha_i),   dL/dc_i = T_i alpha_i G.
// Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 3 and appendix C; Zwicker et al. 2001, "EWA Splatting", eq. 12.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace blend {

constexpr float kMinAlpha = 1.0f / 255.0f, kMaxAlpha = 0.99f, kMinTransmittance = 1e-4f;
constexpr float kLog2e = 1.44269504088896341f;

// A Gaussian as pixels read it; the conic is scaled so that the exponent is one of 2.
struct Splat {
    float x, y, a, b, c, opacity;
};

NEURAL_HD Splat splat(float x, float y, float a, float b, float c, float opacity) {
    return {x, y, -0.5f * kLog2e * a, -kLog2e * b, -0.5f * kLog2e * c, opacity};
}

// Before anything is left out.
template <class V, class F> NEURAL_HD V alpha(const Splat& s, V px, V py, const F& f) {
    const V dx = px - s.x, dy = py - s.y;
    return f.low(s.opacity * f.exp2((s.a * dx + s.b * dy) * dx + s.c * dy * dy), kMaxAlpha);
}

// Sums over a Gaussian's pixels of v = dL/dalpha alpha times 1, x, y, x^2, xy, y^2 become its gradients.
struct Moments {
    float one, x, y, xx, xy, yy; // positions from the same origin as the centre
};
NEURAL_HD void gradients(const Moments& m, float cx, float cy, float A, float B, float C, float opacity, float* out) {
    const float x = m.x - cx * m.one, y = m.y - cy * m.one;
    out[0] = A * x + B * y;
    out[1] = B * x + C * y;
    out[2] = -0.5f * (m.xx - 2.0f * cx * m.x + cx * cx * m.one);
    out[3] = -(m.xy - cx * m.y - cy * m.x + cx * cy * m.one);
    out[4] = -0.5f * (m.yy - 2.0f * cy * m.y + cy * cy * m.one);
    out[5] = m.one / opacity;
}

} // namespace blend
} // namespace neural
