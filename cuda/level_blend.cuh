// Zip-NeRF's weight of a grid's level for a sample of width s (a standard deviation): the share of a Gaussian that lies
// within a cell, w = erf(1 / sqrt(8 s^2 n^2)) = erf(r / s), n the level's cells along the box and r = 1 / (sqrt(8) n).
// Source: Barron et al. 2023, arXiv:2304.06706, section 3.2.
// V is float on a GPU and a vector of lanes on a CPU; exp(v) is e^v.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace level {

// erf(x) for x >= 0, error below 2e-7: x times a polynomial in x^2 below 1, and 1 - e^(x times a polynomial) above.
// Both fitted at Chebyshev nodes in fp64.
template <class V, class Exp> NEURAL_HD V erf_of(V x, const Exp& exp) {
    const V s = x * x, t = x > 4.0f ? V{} + 4.0f : x; // from 4 on it is 1
    V small = 7.8824974e-5f * s - 8.0188555e-4f;
    small = small * s + 5.1893122e-3f;
    small = small * s - 2.6854329e-2f;
    small = small * s + 1.1283597e-1f;
    small = small * s - 3.7612626e-1f;
    small = small * s + 1.1283791f;
    V large = -1.5386519e-7f * t + 3.7124114e-6f;
    large = large * t - 3.7763366e-5f;
    large = large * t + 1.9583591e-4f;
    large = large * t - 3.5326288e-4f;
    large = large * t - 2.2683407e-3f;
    large = large * t + 2.2009226e-2f;
    large = large * t - 1.0487415e-1f;
    large = large * t - 6.3574076e-1f;
    large = large * t - 1.1285398f;
    return x < 1.0f ? V(small * x) : V(1.0f - exp(V(large * t)));
}

// The weight, or its first or second derivative by the width. A width of 0 has weight 1 and no slope.
template <class V, class Exp> NEURAL_HD V weight(V width, float reach, int order, const Exp& exp) {
    V t = reach / width;
    t = t > 10.0f ? V{} + 10.0f : t; // NaN stays; e^(-t^2) is nothing by then
    if (order == 0) return erf_of(t, exp);
    const V bell = 1.12837917f / reach * t * t * exp(V(-(t * t))); // 2 / sqrt(pi)
    return order == 1 ? V(-bell) : V(2.0f / reach * t * (1.0f - t * t) * bell);
}

} // namespace level
} // namespace neural
