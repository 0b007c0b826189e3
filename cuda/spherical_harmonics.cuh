// Real spherical harmonics of a direction up to degree 8 (l = 0 .. degree-1), ordered k = l^2 + l + m, with the
// Condon-Shortley sign (-1)^m, as tiny-cuda-nn and 3D Gaussian splatting have them. With (x + iy)^m = c_m + i s_m,
//   Y_lm = (-1)^m P_lm(z) c_m (m > 0),  P_l0(z) (m = 0),  (-1)^m P_l|m|(z) s_|m| (m < 0),
//   P_mm = N_m,  P_lm = a_lm (z P_(l-1)m - b_lm P_(l-2)m)      (normalised Legendre polynomials without sin^m)
// Source: P.-P. Sloan, "Efficient Spherical Harmonic Evaluation", JCGT 2(2), 2013, section 2.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace sh {

constexpr int kMaxDegree = 8;

constexpr double root(double v) { // Newton, for compile-time constants
    double r = v > 1.0 ? v : 1.0;
    for (int i = 0; i < 60; ++i) r = 0.5 * (r + v / r);
    return v == 0.0 ? 0.0 : r;
}
// (-1)^m sqrt((2m+1)!! / ((2m)!! 4 pi)) sqrt(2 if m > 0)
constexpr double diagonal(int m) {
    double v = 0.25 / 3.14159265358979323846;
    for (int i = 1; i <= m; ++i) v *= (2.0 * i + 1.0) / (2.0 * i);
    return (m % 2 ? -1.0 : 1.0) * root(m > 0 ? 2.0 * v : v);
}
constexpr double step_a(int l, int m) { return root((4.0 * l * l - 1.0) / (1.0 * l * l - 1.0 * m * m)); }
constexpr double step_b(int l, int m) {
    return l - 1 > m ? root(((l - 1.0) * (l - 1.0) - 1.0 * m * m) / (4.0 * (l - 1.0) * (l - 1.0) - 1.0)) : 0.0;
}

template <int L, int M> struct Step {
    static constexpr float a = float(step_a(L, M));
    static constexpr float ab = float(step_a(L, M) * step_b(L, M));
};

// Walks l = L .. degree-1 at fixed m. `emit(k, sign-free value, derivative)` sees P_lm and dP_lm/dz.
template <int L, int M, int Degree, class V, class Emit>
NEURAL_HD void column(V z, V p1, V p2, V d1, V d2, const Emit& emit) {
    if constexpr (L < Degree) {
        const V p = Step<L, M>::a * z * p1 - Step<L, M>::ab * p2;
        const V d = Step<L, M>::a * (p1 + z * d1) - Step<L, M>::ab * d2;
        emit(L, p, d);
        column<L + 1, M, Degree>(z, p, p1, d, d1, emit);
    }
}

// Columns m = M .. degree-1; c, s are c_M, s_M and cp, sp are c_(M-1), s_(M-1).
template <int M, int Degree, class V, class Visit>
NEURAL_HD void columns(V x, V y, V z, V c, V s, V cp, V sp, const Visit& visit) {
    if constexpr (M < Degree) {
        const V zero = x - x;
        const V p = zero + float(diagonal(M));
        auto emit = [&](int l, V value, V slope) { visit(l, M, value, slope, c, s, cp, sp); };
        emit(M, p, zero);
        column<M + 1, M, Degree>(z, p, zero, zero, zero, emit);
        columns<M + 1, Degree>(x, y, z, V(x * c - y * s), V(x * s + y * c), c, s, visit);
    }
}

// put(k, Y_k) for all k < Degree^2
template <int Degree, class V, class Put> NEURAL_HD void evaluate(V x, V y, V z, const Put& put) {
    const V zero = x - x;
    auto visit = [&](int l, int m, V p, V, V c, V s, V, V) {
        put(l * l + l + m, V(m == 0 ? p : p * c));
        if (m > 0) put(l * l + l - m, V(p * s));
    };
    columns<0, Degree>(x, y, z, V(zero + 1.0f), zero, zero, zero, visit);
}

// grad = sum_k upstream(k) dY_k/d(x, y, z)
template <int Degree, class V, class Get> NEURAL_HD void gradient(V x, V y, V z, const Get& upstream, V* grad) {
    const V zero = x - x;
    V gx = zero, gy = zero, gz = zero;
    auto visit = [&](int l, int m, V p, V d, V c, V s, V cp, V sp) {
        const V up = upstream(l * l + l + m);
        if (m == 0) {
            gz = gz + up * d;
            return;
        }
        const V um = upstream(l * l + l - m);
        const float fm = float(m);
        gx = gx + fm * p * (up * cp + um * sp);
        gy = gy + fm * p * (um * cp - up * sp);
        gz = gz + d * (up * c + um * s);
    };
    columns<0, Degree>(x, y, z, V(zero + 1.0f), zero, zero, zero, visit);
    grad[0] = gx;
    grad[1] = gy;
    grad[2] = gz;
}

} // namespace sh
} // namespace neural
