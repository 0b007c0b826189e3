// Where the ellipse of a projected Gaussian lies, row of blocks by row of blocks. Its points (dx, dy) have
//   A dx^2 + 2 B dx dy + C dy^2 <= tau = 2 ln(255 o),     that is alpha >= 1/255;
// at height dy they reach from -B dy / A - h to -B dy / A + h with h = sqrt(tau / A (1 - (dy / ey)^2)), ey the half height
// of the box. Between two heights the right end is farthest where dy = -B ex / C, or at the height nearest to it.
// Source: Hanson et al. 2024, arXiv:2412.00578 (Speedy-Splat), section 4 (exact tiles), here for bands of pixel centres.
// V is float on a GPU and a vector of lanes (bands) on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace tiles {

constexpr int kTile = 16, kBlock = 4;

struct Ellipse {
    float x, y;         // centre, pixels
    float tilt;         // B / A
    float reach;        // sqrt(tau / A)
    float summit;       // B ex / C: the right end's height below the centre, the left end's above
    float ey, inverse_ey;
    float margin;       // pixels, for rounding
};

// First and last pixel column whose centre lies in the ellipse somewhere in the band of pixel rows [row, row + kBlock);
// last < first where there is none. F has sqrt, floor, low(a, b) = min and high(a, b) = max of V.
template <class V, class F> NEURAL_HD void span(const Ellipse& e, V row, const F& f, V& first, V& last) {
    const V zero = row - row;
    const V low = f.high(row + 0.5f - e.y, zero - e.ey), high = f.low(row + (kBlock - 0.5f) - e.y, zero + e.ey);
    const V right = f.low(f.high(zero - e.summit, low), high), left = f.low(f.high(zero + e.summit, low), high);
    const V sr = right * e.inverse_ey, sl = left * e.inverse_ey;
    const V x1 = e.x - e.tilt * right + e.reach * f.sqrt(f.high(1.0f - sr * sr, zero)) + e.margin;
    const V x0 = e.x - e.tilt * left - e.reach * f.sqrt(f.high(1.0f - sl * sl, zero)) - e.margin;
    first = -f.floor(0.5f - x0); // ceil(x0 - 0.5)
    last = f.floor(x1 - 0.5f);
    const V none = high - low + e.margin; // below 0: the band misses the ellipse
    last = f.choose(none < 0.0f, first - 1.0f, last);
}

} // namespace tiles
} // namespace neural
