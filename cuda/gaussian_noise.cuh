// Noise that lets faint Gaussians explore: with rotation R, scales s, opacity o and n ~ N(0, I)
//   m += strength sigmoid(-100 (o - 0.005)) R diag(s^2) R^T n,
// four Philox words a row, normal by Box and Muller. What is opaque stays: from a logit of -1.613 (o = 0.1662) on the
// factor is below 1e-7.
// Source: Kheradmand et al. 2024, arXiv:2404.09591, section 3.2 (constants of the authors' program).
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/philox.cuh"

namespace neural {
namespace noise {

constexpr u32 kStream = 0x676E7365; // Philox stream
constexpr float kOpaque = -1.613f;  // logit from which a Gaussian stays
constexpr float kSteepness = 100.0f, kMiddle = 0.005f;
constexpr float kShortest = 1e-30f; // squared length of a quaternion that has no direction

// A logit that is NaN stays too.
NEURAL_HD bool moves(float logit) { return logit < kOpaque; }

// F has exp, log, sqrt and sincos_pi (sine and cosine of pi t) of one machine; uniforms in [0, 1).
template <class V, class F>
NEURAL_HD void displacement(const V* quat, const V* log_scale, V logit, const V* uniform, float strength, const F& f,
                            V* d) {
    const V radius0 = f.sqrt(-2.0f * f.log(1.0f - uniform[0])), radius1 = f.sqrt(-2.0f * f.log(1.0f - uniform[2]));
    V normal[3], sine, cosine;
    f.sincos_pi(2.0f * uniform[1], sine, cosine);
    normal[0] = radius0 * cosine, normal[1] = radius0 * sine;
    f.sincos_pi(2.0f * uniform[3], sine, cosine);
    normal[2] = radius1 * cosine;

    const V inverse = 1.0f / f.sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3]);
    const V w = quat[0] * inverse, x = quat[1] * inverse, y = quat[2] * inverse, z = quat[3] * inverse;
    const V r[9] = {1.0f - 2.0f * (y * y + z * z), 2.0f * (x * y - w * z), 2.0f * (x * z + w * y),
                    2.0f * (x * y + w * z), 1.0f - 2.0f * (x * x + z * z), 2.0f * (y * z - w * x),
                    2.0f * (x * z - w * y), 2.0f * (y * z + w * x), 1.0f - 2.0f * (x * x + y * y)};
    const V opacity = 1.0f / (1.0f + f.exp(-logit));
    const V factor = strength / (1.0f + f.exp(kSteepness * (opacity - kMiddle)));
    V along[3];
    NEURAL_UNROLL
    for (int j = 0; j < 3; ++j)
        along[j] = factor * f.exp(2.0f * log_scale[j]) * (r[j] * normal[0] + r[3 + j] * normal[1] + r[6 + j] * normal[2]);
    NEURAL_UNROLL
    for (int i = 0; i < 3; ++i) d[i] = r[3 * i] * along[0] + r[3 * i + 1] * along[1] + r[3 * i + 2] * along[2];
}

} // namespace noise
} // namespace neural
