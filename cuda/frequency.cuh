// Frequency encoding: sin(2^k pi x) and cos(2^k pi x) for k = 0 .. n-1, interleaved, dimension after dimension:
// feature (d n + k) 2 is the sine and (d n + k) 2 + 1 the cosine, as tiny-cuda-nn orders them.
// Source: B. Mildenhall et al. 2020, arXiv:2003.08934, eq. 4.
// V is float on a GPU and a vector of lanes on a CPU; sincos_pi(t, s, c) gives sin and cos of pi t.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace frequency {

constexpr float kPi = 3.14159265358979324f;

// Calls visit(k, sin, cos, 2^k pi) for one coordinate. 2^k x is exact in fp32.
template <class V, class SinCos, class Visit>
NEURAL_HD void each(V x, i64 n, const SinCos& sincos_pi, const Visit& visit) {
    float scale = 1.0f;
    for (i64 k = 0; k < n; ++k) {
        V s, c;
        sincos_pi(V(x * scale), s, c);
        visit(k, s, c, scale * kPi);
        scale *= 2.0f;
    }
}

} // namespace frequency
} // namespace neural
