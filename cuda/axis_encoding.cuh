// Encodings that turn each coordinate into n features of its own: feature d n + k belongs to dimension d.
// Triangle wave: 4 |frac(2^(k-1) x + k/4) - 1/2| - 1, for k = 0 .. n-1.
// One-blob: the mass that a quartic kernel about x, of radius 1/n, has in the k-th of n bins of [0, 1]; the box wraps.
// Source: Mueller et al. 2021, arXiv:2106.12372, section 3.3 (triangle waves); Mueller et al. 2019, arXiv:1808.03856,
// section 4.3 (one-blob); phases, kernel and wrapping as in tiny-cuda-nn.
// V is float on a GPU and a vector of lanes on a CPU; floor(t) rounds down.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace axis {

enum Kind { kTriangleWave = 0, kOneBlob = 1 };

// The quartic kernel's cumulative distribution at u radii from its middle, its density and the density's slope.
template <class V> struct Quartic {
    V mass, density, slope;
};
template <class V> NEURAL_HD Quartic<V> quartic(V u) {
    const V u2 = u * u;
    const V mass = 0.9375f * u * (1.0f - u2 * (0.66666667f - 0.2f * u2)) + 0.5f; // rises beyond +-1 too
    const V rest = 1.0f - u2 < 0.0f ? V{} : 1.0f - u2;
    return {mass < 0.0f ? V{} : (mass > 1.0f ? V{} + 1.0f : mass), 0.9375f * rest * rest, -3.75f * u * rest};
}

// All three at a boundary of a bin, of the kernel and its copies one box to either side.
template <class V> NEURAL_HD Quartic<V> wrapped(V from_x, float n) {
    const Quartic<V> here = quartic(V(from_x * n)), below = quartic(V((from_x - 1.0f) * n)), above = quartic(V((from_x + 1.0f) * n));
    return {here.mass + below.mass + above.mass, here.density + below.density + above.density,
            here.slope + below.slope + above.slope};
}

// Calls visit(k, value, first derivative, second derivative) for the n features of one coordinate.
template <int Kind, class V, class Floor, class Visit>
NEURAL_HD void each(V x, i64 n, const Floor& floor, const Visit& visit) {
    if (Kind == kTriangleWave) {
        float scale = 0.5f;
        for (i64 k = 0; k < n; ++k) {
            const V turns = x * scale;                           // exact
            V t = turns - floor(turns) + 0.25f * float(int(k) & 3); // whole turns and whole phases taken off first
            t = t - floor(t);
            visit(k, V(4.0f * (t < 0.5f ? 0.5f - t : t - 0.5f) - 1.0f),
                  V(t < 0.5f ? V{} - 4.0f * scale : V{} + 4.0f * scale), V{});
            scale *= 2.0f;
        }
    } else {
        const float bins = float(int(n));
        Quartic<V> left = wrapped(V{} - x, bins);
        for (i64 k = 0; k < n; ++k) {
            const Quartic<V> right = wrapped(V(float(int(k + 1)) / bins - x), bins);
            visit(k, V(right.mass - left.mass), V(bins * (left.density - right.density)),
                  V(bins * bins * (right.slope - left.slope)));
            left = right;
        }
    }
}

} // namespace axis
} // namespace neural
