// The modulated sine network on one block of up to gemm::kBlock samples, on the CPU. Every matrix is feature-major,
// [features, kBlock], 64-byte aligned; lanes past n hold values that nobody may use. `e` holds one [n_features, kBlock]
// per grid. `scratch` is 64-byte aligned and of the length that *_scratch(shape) gives, in floats.
#pragma once
#include "common/affine_block.h"
#include "common/sine.h"
#include "modulated_sine.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace modulated_sine {

using namespace neural::modulated_sine; // neuron, value and Shape
using gemm::kBlock;
using gemm::padded;

struct Network {
    Shape shape;
    Sine sine;
    const float* params;
};

inline i64 forward_scratch(const Shape& s) { return (i64(s.n_features) + 3 * i64(s.width)) * kBlock; }
inline i64 backward_scratch(const Shape& s) {
    int widest = s.n_features > s.width ? s.n_features : s.width;
    widest = s.n_coordinates > widest ? s.n_coordinates : widest;
    return (i64(s.n_features) + 3 * i64(s.n_hidden) * s.width + padded(widest)) * kBlock;
}

// sum = e_0 + e_1 + ..
inline void add_grids(const Shape& s, const float* e, float* sum) {
    const int size = s.n_features * kBlock;
    for (int at = 0; at < size; at += kWidth) {
        vfloat total = load(e + at);
        for (int g = 1; g < s.n_grids; ++g) total += load(e + g * size + at);
        store(sum + at, total);
    }
}

// What modulates hidden layer `layer`.
inline const float* modulator(const Shape& s, int layer, const float* x, const float* e) {
    return layer == 0 ? x : e + s.grid_of(layer) * s.n_features * kBlock;
}

// z and v of hidden layer `layer` from `below`, the layer under it.
inline void hidden_layer(const Network& net, int layer, const float* below, const float* modulated_by, int n, float* z,
                         float* v) {
    affine::apply(net.shape, net.params, 2 * layer, below, n, gemm::Store{z, kBlock});
    affine::apply(net.shape, net.params, 2 * layer + 1, modulated_by, n, gemm::Store{v, kBlock});
}

// out = the network of x and e.
inline void forward_block(const Network& net, const float* x, const float* e, int n, float* out, float* scratch) {
    const Shape& s = net.shape;
    const int hidden = s.width * kBlock;
    float* const sum = scratch;
    float *z = sum + s.n_features * kBlock, *next = z + hidden;
    float* const v = next + hidden;
    add_grids(s, e, sum);
    const float* below = sum;
    for (int l = 0; l < s.n_hidden; ++l) {
        hidden_layer(net, l, below, modulator(s, l, x, e), n, z, v);
        for (int r = 0; r < s.width; ++r)
            for (int at = r * kBlock; at < r * kBlock + n; at += kWidth)
                store(z + at, value(net.sine, load(z + at), load(v + at)));
        below = z;
        z = next;
        next = (float*)below;
    }
    affine::apply(s, net.params, 2 * s.n_hidden, below, n, gemm::Store{out, kBlock});
}

// grad_x and grad_e = gradients to x and e (unless null); partial += gradient to the parameters (unless null).
// Hidden values are computed again: that is cheaper than writing and reading them once per batch.
inline void backward_block(const Network& net, const float* x, const float* e, const float* grad_out, int n,
                           float* grad_x, float* grad_e, float* partial, float* scratch) {
    const Shape& s = net.shape;
    const int hidden = s.width * kBlock, grid = s.n_features * kBlock;
    float* const sum = scratch;
    float* const values = sum + grid;                      // h_l
    float* const by_z = values + s.n_hidden * hidden;      // dh_l / dz_l, then the gradient of z_l in its place
    float* const by_v = by_z + s.n_hidden * hidden;        // the same of v_l
    float* const flipped = by_v + s.n_hidden * hidden;

    add_grids(s, e, sum);
    const float* below = sum;
    for (int l = 0; l < s.n_hidden; ++l) {
        float *h = values + l * hidden, *z = by_z + l * hidden, *v = by_v + l * hidden;
        hidden_layer(net, l, below, modulator(s, l, x, e), n, z, v);
        for (int r = 0; r < s.width; ++r)
            for (int at = r * kBlock; at < r * kBlock + n; at += kWidth) {
                const Neuron<vfloat> of = neuron(net.sine, load(z + at), load(v + at));
                store(h + at, of.value);
                store(z + at, of.by_z);
                store(v + at, of.by_v);
            }
        below = h;
    }
    for (int at = 0; grad_e && at < s.n_grids * grid; at += kWidth) store(grad_e + at, vfloat{});

    const float* g = grad_out;
    if (partial) affine::add_gradient(s, 2 * s.n_hidden, g, below, n, true, partial, flipped);
    for (int l = s.n_hidden - 1; l >= 0; --l) {
        float *gz = by_z + l * hidden, *gv = by_v + l * hidden;
        affine::transposed(s, net.params, 2 * l + 2, g, n, [&](int r, int c, vfloat to_h) {
            const int at = r * kBlock + c;
            store(gz + at, load(gz + at) * to_h);
            store(gv + at, load(gv + at) * to_h);
        });
        if (partial) {
            affine::add_gradient(s, 2 * l, gz, l ? values + (l - 1) * hidden : sum, n, true, partial, flipped);
            affine::add_gradient(s, 2 * l + 1, gv, modulator(s, l, x, e), n, true, partial, flipped);
        }
        if (l > 0 && grad_e)
            affine::transposed(s, net.params, 2 * l + 1, gv, n, gemm::Add{grad_e + s.grid_of(l) * grid, kBlock});
        g = gz;
    }
    if (grad_x) affine::transposed(s, net.params, 1, by_v, n, gemm::Store{grad_x, kBlock});
    if (grad_e)
        affine::transposed(s, net.params, 0, g, n, [&](int r, int c, vfloat to_sum) {
            for (float* at = grad_e + r * kBlock + c; at < grad_e + s.n_grids * grid; at += grid)
                store(at, load(at) + to_sum);
        });
}

} // namespace modulated_sine
} // namespace NEURAL_ISA
} // namespace neural
