// Colour of a Gaussian from a direction: max(0, 0.5 + sum_k Y_k(d) sh_k), d the unit vector from the camera's centre to
// its own. Source: Kerbl et al. 2023, arXiv:2308.04079, section 4; basis: spherical_harmonics.cuh.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "spherical_harmonics.cuh"

namespace neural {
namespace gaussian_color {

constexpr float kY0 = 0.28209479177387814f;
constexpr float kBrightest = 3e38f; // a Gaussian with a colour beyond, or none at all, is black

template <class V> struct Direction {
    V d[3], inverse_length; // 0 for a Gaussian at the centre of the camera, or beyond all numbers
};

template <class V, class F> NEURAL_HD Direction<V> direction(const V* mean, const float* centre, const F& f) {
    Direction<V> out;
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) out.d[i] = mean[i] - centre[i];
    const V length2 = out.d[0] * out.d[0] + out.d[1] * out.d[1] + out.d[2] * out.d[2];
    const V zero{};
    const auto has_one = (length2 > 1e-30f) & (length2 < kBrightest);
    out.inverse_length = f.choose(has_one, 1.0f / f.sqrt(length2), zero);
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) out.d[i] = f.choose(has_one, out.d[i] * out.inverse_length, zero);
    return out;
}

// Gradient to the mean from that to the unit direction.
template <class V> NEURAL_HD void through_direction(const Direction<V>& at, const V* grad, V* grad_mean) {
    const V radial = at.d[0] * grad[0] + at.d[1] * grad[1] + at.d[2] * grad[2];
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) grad_mean[i] = (grad[i] - at.d[i] * radial) * at.inverse_length;
}

} // namespace gaussian_color
} // namespace neural
