// Multilayer perceptron: activations with their first and second derivatives, and where each layer's weights are.
//   a_0 = input,  z_l = W_l a_(l-1) + b_l,  a_l = phi_l(z_l),  l = 1 .. n_hidden + 1
// phi is `activation` on the hidden layers and `output_activation` on the last. Parameters are one fp32 array:
// per layer W [outputs, inputs] row-major, then b [outputs] where the network has biases.
// V is float on a GPU and a vector of lanes on a CPU; Math supplies exp, log and sincos of V.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace mlp {

// Codes shared with Python (mlp.py, ACTIVATIONS).
enum Activation : int { kNone, kRelu, kLeakyRelu, kSilu, kSoftplus, kSine, kSigmoid, kExp, kActivationCount };

constexpr float kLeakySlope = 0.01f;
constexpr int kMaxHidden = 8;

template <class V> struct Jet { // phi(z), phi'(z), phi''(z)
    V value, first, second;
};

// `frequency` is the sine's: phi(z) = sin(frequency * z). What the caller ignores is never computed (all inlined).
// ReLU and leaky ReLU have slope 0 and kLeakySlope at 0, as torch has them; NaN stays NaN everywhere.
template <int Act, class Math, class V> NEURAL_HD Jet<V> activate(V z, float frequency) {
    const V zero{};
    const V one = zero + 1.0f;
    if constexpr (Act == kRelu) {
        return {z <= 0.0f ? V(zero) : z, z <= 0.0f ? V(zero) : one, zero};
    } else if constexpr (Act == kLeakyRelu) {
        return {z <= 0.0f ? V(kLeakySlope * z) : z, z <= 0.0f ? V(kLeakySlope * one) : one, zero};
    } else if constexpr (Act == kSilu) {
        const V s = one / (one + Math::exp(-z));
        const V slope = s * (one - s);
        return {z * s, s + z * slope, slope * (2.0f * one + z * (one - 2.0f * s))};
    } else if constexpr (Act == kSoftplus) { // max(z, 0) + log1p(e), e = exp(-|z|)
        const V e = Math::exp(z < 0.0f ? z : -z);
        const V u = one + e;
        const V inverse = one / u;
        const V s = z < 0.0f ? V(e * inverse) : inverse;
        const V positive = z < 0.0f ? V(zero) : z;
        return {positive + Math::log(u) + (e - (u - one)) * inverse, s, s * (one - s)}; // rounding of u put back
    } else if constexpr (Act == kSine) {
        V s, c;
        Math::sincos(frequency * z, s, c);
        return {s, frequency * c, -frequency * frequency * s};
    } else if constexpr (Act == kSigmoid) {
        const V s = one / (one + Math::exp(-z));
        const V slope = s * (one - s);
        return {s, slope, slope * (one - 2.0f * s)};
    } else if constexpr (Act == kExp) {
        const V e = Math::exp(z);
        return {e, e, e};
    } else {
        return {z, one, zero};
    }
}

struct Shape {
    int n_in, n_out, width, n_hidden, bias;

    NEURAL_HD constexpr int n_maps() const { return n_hidden + 1; }
    NEURAL_HD constexpr int inputs(int layer) const { return layer == 0 ? n_in : width; } // layer = 0 .. n_hidden
    NEURAL_HD constexpr int outputs(int layer) const { return layer == n_hidden ? n_out : width; }
    // First parameter of the layer; offset(n_hidden + 1) is the number of parameters.
    NEURAL_HD constexpr i64 offset(int layer) const {
        i64 sum = 0;
        for (int l = 0; l < layer; ++l) sum += i64(outputs(l)) * (inputs(l) + (bias ? 1 : 0));
        return sum;
    }
    // The layer's bias, or null.
    NEURAL_HD const float* bias_of(const float* params, int layer) const {
        return bias ? params + offset(layer) + i64(outputs(layer)) * inputs(layer) : nullptr;
    }
};

} // namespace mlp
} // namespace neural
