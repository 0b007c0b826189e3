// A projected Gaussian as its exponent to base 2, log2(alpha) before the clamp:
//   l + a dx^2 + b dx dy + c dy^2,  a = -A log2(e) / 2,  b = -B log2(e),  c = -C log2(e) / 2,  l = log2(opacity).
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "platform.cuh"

namespace neural {
namespace ellipse {

constexpr int kTile = 16; // pixels
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
constexpr float kMinExponent = -7.99435343685885793f; // log2(1 / 255): below it nothing is drawn
constexpr float kSlack = 1.5e-4f; // of it in tests of rectangles: more than rounding takes, so no pixel is missed

template <class V> NEURAL_HD V larger(V a, V b) { return a > b ? a : b; }
template <class V> NEURAL_HD V smaller(V a, V b) { return a < b ? a : b; }
template <class V> NEURAL_HD V clamped(V low, V high, V value) { return smaller(high, larger(low, value)); }

template <class V> NEURAL_HD V exponent(V a, V b, V c, V l, V dx, V dy) {
    return l + dx * (a * dx + b * dy) + dy * (c * dy);
}

// The greatest exponent in a rectangle whose sides are relative to the centre; down is -b / (2 c), along -b / (2 a).
// A concave function is greatest at its peak or on an edge that faces it.
template <class V>
NEURAL_HD V greatest(V a, V b, V c, V l, V along, V down, V left, V right, V top, V bottom) {
    const V zero = left - left;
    const V x = clamped(left, right, zero), y = clamped(top, bottom, zero);
    return larger(exponent(a, b, c, l, x, clamped(top, bottom, down * x)),
                  exponent(a, b, c, l, clamped(left, right, along * y), y));
}

} // namespace ellipse
} // namespace neural
