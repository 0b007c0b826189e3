// Structural similarity of two images x, y in one window: a Gaussian of 11x11 pixels, sigma 1.5, weights with sum 1.
//   S = (2 mx my + c1) (2 cov + c2) / ((mx^2 + my^2 + c1) (vars + c2)),  c1 = 0.01^2, c2 = 0.03^2
// where mx, my are weighted means, cov = mean(xy) - mx my and vars = mean(x^2 + y^2) - mx^2 - my^2. Pixels are taken
// as x - 1/2, y - 1/2 (variances keep more digits); only the means of the first factor are not. A pixel x_i with weight
// w_i gets dS/dx_i = w_i (dmean + 2 x_i dsquares + y_i dproduct).
// Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace ssim {

constexpr int kWindow = 11, kReach = kWindow - 1, kCentre = kWindow / 2;
constexpr float kShift = 0.5f; // subtracted from both images
// exp(-(k - 5)^2 / (2 1.5^2)), normalised; the same from both ends.
NEURAL_HD constexpr float weight(int k) {
    constexpr float half[kCentre + 1] = {0.00102838008447911f, 0.00759875813523919f, 0.0360007721284636f,
                                         0.109360689509700f,   0.213005537711254f,   0.266011724861794f};
    return half[k <= kCentre ? k : kReach - k];
}

template <class V> struct Means { // of the shifted pixels
    V x, y, squares, product;     // squares: x^2 + y^2
};
template <class V> struct Slopes {
    V mean, squares, product;
};

// S, and its derivatives to the means where `slopes` is given.
template <class V> NEURAL_HD V similarity(const Means<V>& m, Slopes<V>* slopes) {
    constexpr float c1 = 0.01f * 0.01f, c2 = 0.03f * 0.03f;
    const V ux = m.x + kShift, uy = m.y + kShift;
    const V a1 = 2.0f * ux * uy + c1, b1 = ux * ux + uy * uy + c1;
    const V a2 = 2.0f * (m.product - m.x * m.y) + c2, b2 = m.squares - (m.x * m.x + m.y * m.y) + c2;
    const V inverse = 1.0f / (b1 * b2), s = a1 * a2 * inverse;
    if (slopes) {
        slopes->mean = 2.0f * inverse * (uy * a2 - m.y * a1 + s * (m.x * b1 - ux * b2));
        slopes->squares = -s * b1 * inverse;
        slopes->product = 2.0f * a1 * inverse;
    }
    return s;
}

} // namespace ssim
} // namespace neural
