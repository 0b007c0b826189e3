// Metric maps: one coordinate x of [0, 1] to where three elementary grids have it, with first and second derivatives.
//   signal (p = 2 x - 1):  t_0 = x,  t_1 = (sin p / sin 1 + 1) / 2,  t_2 = (arcsin p / pi + 1/2) / 2  (half the length)
//   radiance:              t_0 = x,  t_1 = sin x,                    t_2 = cos x
// Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000. Theirs has t_1 and t_2 of the first form in [-1, 0] and
// [-1, -1/2], which keeps hash keys apart; ours are moved by 1, since levels have keys of their own. Ours too: where
// |p| > 1 - kSteep arcsin goes on along its tangent, so that its slope ends at 45 instead of infinity (the faces move
// by 0.0018 of the box), and beyond [0, 1] every map stays at the face.
// V is float on a GPU and a vector of lanes on a CPU; Math supplies sincos, asin (of up to 1 - kSteep) and sqrt.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace metric_maps {

enum Kind { kSignal = 0, kRadiance = 1 };

constexpr int kMaps = 3;
constexpr float kSteep = 0.000244140625f; // 2^-12: below half a pixel of images up to 2048 wide

template <class V> struct Jet { // t(x), t'(x), t''(x)
    V value, first, second;
};

// visit(k, jet of t_k at x) for each map. What the caller ignores is never computed (all inlined).
template <int Which, class Math, class V, class Visit> NEURAL_HD void each(V x, const Visit& visit) {
    const V zero{}, one = zero + 1.0f;
    const V at = x < 0.0f ? zero : (x > 1.0f ? one : x);
    const V inside = x < 0.0f ? zero : (x > 1.0f ? zero : one);
    visit(0, Jet<V>{at, inside, zero});
    V s, c;
    if constexpr (Which == kRadiance) {
        Math::sincos(at, s, c);
        visit(1, Jet<V>{s, inside * c, -(inside * s)});
        visit(2, Jet<V>{c, -(inside * s), -(inside * c)});
    } else {
        constexpr float kSin1 = 0.841470984807896507f, kPi = 3.14159265358979324f, kEdge = 1.0f - kSteep;
        const V p = 2.0f * at - 1.0f;
        Math::sincos(p, s, c);
        visit(1, Jet<V>{s * (0.5f / kSin1) + 0.5f, inside * (c * (1.0f / kSin1)), -(inside * (s * (2.0f / kSin1)))});
        const V q = p < -kEdge ? V(zero - kEdge) : (p > kEdge ? V(zero + kEdge) : p);
        const V slope = one / Math::sqrt((1.0f - q) * (1.0f + q)); // arcsin'(q)
        const V bend = p < -kEdge ? zero : (p > kEdge ? zero : V(q * (slope * slope * slope)));
        const V angle = Math::asin(q) + (p - q) * slope;
        visit(2, Jet<V>{angle * (0.5f / kPi) + 0.25f, inside * (slope * (1.0f / kPi)), inside * (bend * (2.0f / kPi))});
    }
}

} // namespace metric_maps
} // namespace neural
