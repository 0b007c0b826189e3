// Blending of projected Gaussians, per pixel and Gaussian. With T_i what reaches layer i and w_i = T_i alpha_i,
//   alpha_i = min(0.99, 2^exponent),   T_{i+1} = T_i (1 - alpha_i),   C = sum w_i f_i + T_end background,
// over the layers with alpha_i >= 1/255 and exponent <= log2(opacity), up to the first that would leave T < 1e-4. With
// g = dL/dC, own_i = g . f_i, and behind_i = sum_{j>i} w_j own_j + T_end (g . background - dL/dalpha),
//   dL/dalpha_i = T_i own_i - behind_i / (1 - alpha_i).
// Position, conic and opacity act through ln alpha: with v = alpha_i dL/dalpha_i (0 where clamped) their gradients are
// moments of v over the pixels. behind_i is what remains of g . C when the layers up to i are taken off, so both
// directions walk front to back.
// Source: Kerbl et al. 2023, arXiv:2308.04079, eq. 3 and appendix C; moments and remainder: ours.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/ellipse.cuh"

namespace neural {
namespace blending {

constexpr float kMinAlpha = 1.0f / 255.0f, kMaxAlpha = 0.99f, kMinLeft = 1e-4f;

// alpha dL/dalpha, from 1 / (1 - alpha).
template <class V> NEURAL_HD V slope(V weight, V alpha, V own, V behind, V inverse) {
    return weight * own - alpha * (behind * inverse);
}

// Of v dx^i dy^j.
template <class V> struct Moments {
    V one, x, y, xx, xy, yy;
};
template <class V> struct Gradients {
    V mean_x, mean_y, a, b, c, opacity; // a, b, c: of the conic
};
// inverse is 1 / opacity; a, b, c are those of the exponent.
template <class V> NEURAL_HD Gradients<V> gradients(const Moments<V>& m, V a, V b, V c, V inverse) {
    return {-ellipse::kLn2 * (2.0f * a * m.x + b * m.y), -ellipse::kLn2 * (b * m.x + 2.0f * c * m.y),
            -0.5f * m.xx, -m.xy, -0.5f * m.yy, m.one * inverse};
}

} // namespace blending
} // namespace neural
