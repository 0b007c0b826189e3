// Modulated sine network over several feature grids: what one neuron computes, and where each weight is.
//   s = e_0 + .. + e_(G-1),  h_0 = sin(w (W_0 s + b_0)) m_0^2,        m_0 = sin(w (V_0 u + c_0))
//   h_i = sin(w (W_i h_(i-1) + b_i)) m_i^2,                           m_i = sin(w (V_i e_j + c_i)), j = min(i - 1, G - 1)
//   y = W_out h_(n_hidden - 1) + b_out
// u [n_coordinates], e_g [n_features], w the frequency. Parameters are one fp32 array: W_0, b_0, V_0, c_0, W_1, .., c of
// the last hidden layer, W_out, b_out; matrices [outputs, inputs] row-major. Map 2 i is W_i, map 2 i + 1 is V_i.
// Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000, section 3 (high-order extrapolation decoder).
// V is float on a GPU and a vector of lanes on a CPU; Sine supplies sin and cos of w z.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace modulated_sine {

template <class V> struct Neuron { // sin(w z) sin(w v)^2 and its derivatives by z and v
    V value, by_z, by_v;
};

template <class Sine, class V> NEURAL_HD Neuron<V> neuron(const Sine& sine, V z, V v) {
    V s, c, m, k; // sines and cosines of w z and w v; the sign that m and k may share cancels
    sine.sincos(z, s, c);
    sine.sincos_up_to_sign(v, m, k);
    const V square = m * m;
    return {s * square, sine.frequency * (c * square), (2.0f * sine.frequency) * (s * (m * k))};
}
template <class Sine, class V> NEURAL_HD V value(const Sine& sine, V z, V v) {
    const V m = sine.sin_up_to_sign(v);
    return sine.sin(z) * (m * m);
}

struct Shape {
    int n_coordinates, n_features, n_grids, n_out, width, n_hidden;
    static constexpr int bias = 1;

    NEURAL_HD constexpr int n_maps() const { return 2 * n_hidden + 1; }
    NEURAL_HD constexpr int inputs(int map) const {
        return map == 0 ? n_features : map == 1 ? n_coordinates : map % 2 ? n_features : width;
    }
    NEURAL_HD constexpr int outputs(int map) const { return map == 2 * n_hidden ? n_out : width; }
    // The grid that modulates hidden layer i >= 1.
    NEURAL_HD constexpr int grid_of(int layer) const { return layer < n_grids ? layer - 1 : n_grids - 1; }
    // First parameter of a map; offset(n_maps()) is the number of parameters.
    NEURAL_HD constexpr i64 offset(int map) const {
        i64 sum = 0;
        for (int i = 0; i < map; ++i) sum += i64(outputs(i)) * (inputs(i) + 1);
        return sum;
    }
    NEURAL_HD const float* bias_of(const float* params, int map) const {
        return params + offset(map) + i64(outputs(map)) * inputs(map);
    }
};

} // namespace modulated_sine
} // namespace neural
