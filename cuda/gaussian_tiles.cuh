// The box of tiles of a projected Gaussian, and which of them its ellipse reaches: those with a pixel's rectangle of
// centres in which alpha comes to 1/255.
// Source: Hanson et al. 2024 (Speedy-Splat), arXiv:2412.00578, sec. 4.1, with pixel centres for tile borders.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/ellipse.cuh"

namespace neural {
namespace tiling {

constexpr float kBoxSlack = 1e-4f; // pixels, for rounding

// First and last pixel whose centre lies within `extent` of `mean`, inside [0, size); last < first: none.
template <class V, class Floor> NEURAL_HD void span(V mean, V extent, V size, const Floor& floor, V& first, V& last) {
    const V low = -floor(extent + 0.5f + kBoxSlack - mean), high = floor(mean + extent - 0.5f + kBoxSlack);
    const V zero = size - size;
    first = low > zero ? low : zero;
    last = high < size - 1.0f ? high : size - 1.0f; // NaN: all pixels, none of which is reached
}

// An ellipse in exponents to base 2, see ellipse.cuh.
template <class V> struct Ellipse {
    V x, y, a, b, c, l, along, down;
};
// log2_opacity = log2(opacity); A, B, C of the conic.
template <class V> NEURAL_HD Ellipse<V> make(V x, V y, V A, V B, V C, V log2_opacity) {
    return {x, y, -0.5f * ellipse::kLog2E * A, -ellipse::kLog2E * B, -0.5f * ellipse::kLog2E * C, log2_opacity,
            -B / A, -B / C};
}
// Exponent in the tile of which (column, row) is the first pixel, at its greatest.
template <class V> NEURAL_HD V greatest(const Ellipse<V>& e, V column, V row, V width, V height) {
    const V most = column - column + float(ellipse::kTile - 1);
    const V right = ellipse::smaller(column + most, width - 1.0f), bottom = ellipse::smaller(row + most, height - 1.0f);
    return ellipse::greatest(e.a, e.b, e.c, e.l, e.along, e.down, column + 0.5f - e.x, right + 0.5f - e.x,
                             row + 0.5f - e.y, bottom + 0.5f - e.y);
}
constexpr float kReached = ellipse::kMinExponent - ellipse::kSlack;

} // namespace tiling
} // namespace neural
