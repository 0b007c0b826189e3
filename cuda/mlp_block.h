// The MLP on one block of up to gemm::kBlock samples, on the CPU: what the whole-batch op loops over and what a fused
// field calls between its other stages. Every matrix is feature-major, [features, kBlock], 64-byte aligned, and every
// vector that holds one of the n samples is computed; lanes past n hold values that nobody may use.
// `scratch` is 64-byte aligned and of the length that *_scratch(shape) gives, in floats.
#pragma once
#include "common/affine_block.h"
#include "mlp.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace mlp {

using namespace neural::mlp; // activations and Shape
using gemm::kBlock;
using gemm::Left;
using gemm::padded;

struct Network {
    Shape shape;
    int activation, output_activation;
    float frequency;
    const float* params;

    int activation_of(int layer) const { return layer == shape.n_hidden ? output_activation : activation; }
};

struct Math {
    static NEURAL_HD vfloat exp(vfloat v) { return NEURAL_ISA::exp(v); }
    static NEURAL_HD vfloat log(vfloat v) { return NEURAL_ISA::log(v); }
    static NEURAL_HD void sincos(vfloat v, vfloat& s, vfloat& c) { NEURAL_ISA::sincos(v, s, c); }
};

// Calls visit(Constant<activation>) for the run-time code.
template <int Act = 0, class Visit> inline void with_activation(int activation, const Visit& visit) {
    if constexpr (Act < kActivationCount) {
        if (activation == Act) visit(Constant<Act>{});
        else with_activation<Act + 1>(activation, visit);
    }
}

// Calls visit(offset, jet of z at offset) for every vector of z [rows, kBlock] that holds one of n samples.
template <class Visit>
inline void each_jet(int activation, float frequency, const float* z, int rows, int n, const Visit& visit) {
    with_activation(activation, [&](auto act) {
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < n; c += kWidth) {
                const int at = r * kBlock + c;
                visit(at, activate<decltype(act)::value, Math>(load(z + at), frequency));
            }
    });
}

inline i64 widest_input(const Shape& shape) {
    return shape.n_in > shape.width ? padded(shape.n_in) : padded(shape.width);
}
inline i64 forward_scratch(const Shape& shape) { return 2 * i64(shape.width) * kBlock; }
inline i64 backward_scratch(const Shape& shape) {
    return (2 * i64(shape.n_hidden) * shape.width + shape.n_out + widest_input(shape)) * kBlock;
}
inline i64 backward_backward_scratch(const Shape& shape) {
    return (4 * i64(shape.n_hidden) * shape.width + 3 * i64(shape.n_out) + shape.width + widest_input(shape)) * kBlock;
}

// z_l = W_l a + b_l for input a.
inline void layer(const Network& net, int l, const float* a, int n, float* z) {
    affine::apply(net.shape, net.params, l, a, n, gemm::Store{z, kBlock});
}

// finish(r, c, (W_l^T g)[r, c]).
template <class Finish> inline void transposed(const Network& net, int l, const float* g, int n, const Finish& finish) {
    affine::transposed(net.shape, net.params, l, g, n, finish);
}

// out = the network of in.
inline void forward_block(const Network& net, const float* in, int n, float* out, float* scratch) {
    const Shape& s = net.shape;
    const float* a = in;
    for (int l = 0; l <= s.n_hidden; ++l) {
        float* z = l == s.n_hidden ? out : scratch + (l % 2) * i64(s.width) * kBlock;
        layer(net, l, a, n, z);
        if (const int act = net.activation_of(l); act != kNone)
            each_jet(act, net.frequency, z, s.outputs(l), n, [&](int at, auto jet) { store(z + at, jet.value); });
        a = z;
    }
}

// What a backward pass needs of the forward pass: a_l of the hidden layers, then phi'(z_l) of all layers.
inline i64 kept_size(const Shape& shape) { return (2 * i64(shape.n_hidden) * shape.width + shape.n_out) * kBlock; }

// out = the network of in (unless null); kept = what backward_kept_block needs.
inline void forward_keeping_block(const Network& net, const float* in, int n, float* out, float* kept) {
    const Shape& s = net.shape;
    const i64 hidden = i64(s.width) * kBlock;
    float *const values = kept, *const slopes = values + s.n_hidden * hidden, *const last = slopes + s.n_hidden * hidden;
    const float* a = in;
    for (int l = 0; l < s.n_hidden; ++l) {
        float *value = values + l * hidden, *slope = slopes + l * hidden;
        layer(net, l, a, n, value);
        each_jet(net.activation, net.frequency, value, s.width, n, [&](int at, auto jet) {
            store(value + at, jet.value);
            store(slope + at, jet.first);
        });
        a = value;
    }
    if (net.output_activation == kNone) {
        if (out) layer(net, s.n_hidden, a, n, out);
        return;
    }
    layer(net, s.n_hidden, a, n, last);
    each_jet(net.output_activation, net.frequency, last, s.n_out, n, [&](int at, auto jet) {
        if (out) store(out + at, jet.value);
        store(last + at, jet.first);
    });
}

// grad_in [n_in - first_in, kBlock] = gradient to the inputs from first_in on (unless null); partial += gradient to the
// parameters (unless null). `kept` is used up; `flipped` has room for widest_input(shape) kBlock floats.
inline void backward_kept_block(const Network& net, const float* in, const float* grad_out, int n, float* kept,
                                float* grad_in, int first_in, float* partial, float* flipped) {
    const Shape& s = net.shape;
    const i64 hidden = i64(s.width) * kBlock;
    float *const values = kept, *const slopes = values + s.n_hidden * hidden, *const last = slopes + s.n_hidden * hidden;
    const float* g = grad_out;
    if (net.output_activation != kNone) {
        for (int r = 0; r < s.n_out; ++r)
            for (int c = 0; c < n; c += kWidth) {
                const int at = r * kBlock + c;
                store(last + at, load(last + at) * load(grad_out + at));
            }
        g = last;
    }
    for (int l = s.n_hidden; l >= 0; --l) {
        if (partial) affine::add_gradient(s, l, g, l ? values + (l - 1) * hidden : in, n, true, partial, flipped);
        if (l > 0) {
            float* below = slopes + (l - 1) * hidden; // phi', then the gradient of z in its place
            transposed(net, l, g, n, gemm::Scale{below, kBlock});
            g = below;
        } else if (grad_in) {
            gemm::product(Left{net.params + first_in, 1, s.n_in}, s.n_in - first_in, s.outputs(0), nullptr, g, kBlock,
                          padded(n), gemm::Store{grad_in, kBlock});
        }
    }
}

// Both at once. Hidden activations are computed again: that is cheaper than writing and reading them once per batch.
inline void backward_block(const Network& net, const float* in, const float* grad_out, int n, float* grad_in,
                           float* partial, float* scratch) {
    forward_keeping_block(net, in, n, nullptr, scratch);
    backward_kept_block(net, in, grad_out, n, scratch, grad_in, 0, partial, scratch + kept_size(net.shape));
}

// Derivatives of S = <second, grad_in>, grad_in = backward_block's: to grad_out, to the inputs and to the parameters.
// With t_0 = second, s_l = W_l t_(l-1) and t_l = phi'(z_l) s_l (the tangent pass), S = <t_L, grad_out>, so
//   dS/dgrad_out = t_L;
//   p_l = W_(l+1)^T g_(l+1), p_L = grad_out;      g_l = phi'(z_l) p_l               (the backward pass again)
//   r_l = W_(l+1)^T q_(l+1), r_L = 0;             q_l = phi''(z_l) s_l p_l + phi'(z_l) r_l
//   dS/dW_l = g_l t_(l-1)^T + q_l a_(l-1)^T,      dS/db_l = q_l,      dS/dinput = W_1^T q_1.
inline void backward_backward_block(const Network& net, const float* in, const float* grad_out, const float* second,
                                    int n, float* to_grad_out, float* to_in, float* partial, float* scratch) {
    const Shape& s = net.shape;
    const i64 hidden = i64(s.width) * kBlock, output = i64(s.n_out) * kBlock;
    float* const values = scratch;                         // a_l
    float* const tangents = values + s.n_hidden * hidden;  // t_l
    float* const slopes = tangents + s.n_hidden * hidden;  // phi'(z_l), then g_l
    float* const bends = slopes + s.n_hidden * hidden + output; // phi''(z_l) s_l, then q_l
    float* const tangent_out = bends + s.n_hidden * hidden + output;
    float* const gradient = tangent_out + output; // p_l
    float* const flipped = gradient + hidden;

    const float *a = in, *t = second;
    for (int l = 0; l <= s.n_hidden; ++l) {
        const bool last = l == s.n_hidden;
        float* value = last ? bends + l * hidden : values + l * hidden;
        float* tangent = last ? tangent_out : tangents + l * hidden;
        float *slope = slopes + l * hidden, *bend = bends + l * hidden;
        layer(net, l, a, n, value);
        gemm::product(Left{net.params + s.offset(l), s.inputs(l), 1}, s.outputs(l), s.inputs(l), nullptr, t, kBlock,
                      padded(n), gemm::Store{tangent, kBlock});
        each_jet(net.activation_of(l), net.frequency, value, s.outputs(l), n, [&](int at, auto jet) {
            const vfloat before = load(tangent + at);
            if (!last) store(value + at, jet.value);
            store(slope + at, jet.first);
            store(bend + at, jet.second * before);
            store(tangent + at, jet.first * before);
        });
        a = value;
        t = tangent;
    }
    for (int at = 0; to_grad_out && at < s.n_out * kBlock; at += kWidth) store(to_grad_out + at, load(tangent_out + at));

    const float* p = grad_out;
    for (int l = s.n_hidden; l >= 0; --l) {
        float *g = slopes + l * hidden, *q = bends + l * hidden;
        if (l < s.n_hidden) { // q holds phi'' s, g holds phi'
            transposed(net, l + 1, slopes + (l + 1) * hidden, n, gemm::Store{gradient, kBlock});
            p = gradient;
        }
        for (int r = 0; r < s.outputs(l); ++r)
            for (int c = 0; c < n; c += kWidth) store(q + r * kBlock + c, load(q + r * kBlock + c) * load(p + r * kBlock + c));
        if (l < s.n_hidden)
            transposed(net, l + 1, bends + (l + 1) * hidden, n, [&](int r, int c, vfloat value) {
                const int at = r * kBlock + c;
                store(q + at, load(q + at) + load(g + at) * value);
            });
        for (int r = 0; r < s.outputs(l); ++r)
            for (int c = 0; c < n; c += kWidth) store(g + r * kBlock + c, load(g + r * kBlock + c) * load(p + r * kBlock + c));
        if (partial) {
            affine::add_gradient(s, l, g, l ? tangents + (l - 1) * hidden : second, n, false, partial, flipped);
            affine::add_gradient(s, l, q, l ? values + (l - 1) * hidden : in, n, true, partial, flipped);
        }
    }
    if (to_in) transposed(net, 0, bends, n, gemm::Store{to_in, kBlock});
}

} // namespace mlp
} // namespace NEURAL_ISA
} // namespace neural
