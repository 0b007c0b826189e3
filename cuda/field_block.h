// A field as a list of plain stages, run on a block of samples while it is in cache: what the fused renderer is made of.
// A block is one feature-major matrix [rows, stride]; a stage reads rows [in, in + n_in) and writes [out, out + n_out).
// The list comes from Python (stages.py), kWords int64 per stage; the same list makes the CUDA kernel.
#pragma once
#include "hash_grid.h"
#include "common/sample_blocks.h"
#include "mlp_block.h"
#include "simplex.h"
#include "spherical_harmonics.h"

namespace neural {
namespace NEURAL_ISA {
namespace field {

enum Kind : i64 { kUnitCube, kHashGrid, kNetwork, kDensity, kDirections, kSimplex };
constexpr int kWords = 16;
constexpr float kMaxLogDensity = 15.0f; // nerfacc's truncation of exp's gradient

struct Stage {
    const i64* words;

    i64 kind() const { return words[0]; }
    i64 in() const { return words[1]; }
    int n_in() const { return int(words[2]); }
    i64 out() const { return words[3]; }
    int n_out() const { return int(words[4]); }
    // the stage's own words, in the order of stages.py
    int integer(int i) const { return int(words[5 + i]); }
    float number(int i) const {
        FloatBits bits;
        bits.bits = u32(words[5 + i]);
        return bits.value;
    }
    template <class T> T* pointer(int i) const { return (T*)words[5 + i]; }

    mlp::Network network() const {
        return {{n_in(), n_out(), integer(1), integer(2), integer(3)}, integer(4), integer(5), number(6),
                pointer<const float>(0)};
    }
};

struct Program {
    const i64* words;
    int n_stages, n_rows;

    Stage stage(int i) const { return {words + i64(i) * kWords}; }
    // Floats that `forward` needs beside the block.
    i64 scratch() const {
        i64 most = 0;
        for (int i = 0; i < n_stages; ++i) {
            if (stage(i).kind() != kNetwork) continue;
            const mlp::Shape s = stage(i).network().shape;
            const i64 size = (i64(s.n_in) + s.n_out) * mlp::kBlock + mlp::forward_scratch(s);
            most = size > most ? size : most;
        }
        return most;
    }
};

struct Block {
    float* rows;
    i64 stride, n; // n samples in use; rows may be read and written in whole vectors

    float* row(i64 r) const { return rows + r * stride; }
    RowsOut out(i64 r) const { return {row(r), 1, stride}; }
    Rows in(i64 r) const { return {row(r), 1, stride}; }
};

// Positions about the middle of the field's cube to [0, 1]^3; see fields/contraction.py.
inline void unit_cube(const Stage& s, const Block& b) {
    const float scale = s.number(0); // 1 / side of the cube
    const bool ball = s.integer(1) != 0;
    for (i64 c = 0; c < b.n; c += kWidth) {
        vfloat p[3];
        for (int i = 0; i < 3; ++i) p[i] = load(b.row(s.in() + i) + c);
        vfloat factor = splat(scale);
        if (ball) {
            for (int i = 0; i < 3; ++i) p[i] = p[i] * (2.0f * scale);
            const vfloat norm = sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]);
            const vfloat inverse = 1.0f / (norm > 1e-12f ? norm : splat(1e-12f));
            factor = norm <= 1.0f ? splat(0.25f) : 0.25f * (2.0f - inverse) * inverse;
        }
        for (int i = 0; i < 3; ++i) store(b.row(s.out() + i) + c, 0.5f + p[i] * factor);
    }
}

inline bool is_encoding(const Stage& s) { return s.kind() == kHashGrid || s.kind() == kSimplex; }

// Features [out ..] of the positions [in ..], a level after the other.
inline void encode(const Stage& s, const Block& b, i64 in, i64 out, int n_threads) {
    const i64 all[2] = {0, b.n};
    const auto forward = s.kind() == kSimplex ? simplex_forward : hash_grid_forward;
    forward(b.row(in), 1, b.stride, s.pointer<const void>(0), s.integer(1), s.pointer<const i64>(2), all, 1, s.integer(3),
            s.n_in(), s.integer(4), s.pointer<const float>(5), s.integer(6), s.integer(7), b.row(out), 1, b.stride,
            n_threads);
}

// Adds the features' gradient [out ..] to the table's, unless none is wanted.
inline void encode_backward(const Stage& s, const Block& b, i64 in, i64 out, int n_threads) {
    if (!s.pointer<float>(8)) return;
    const i64 all[2] = {0, b.n};
    const auto backward = s.kind() == kSimplex ? simplex_backward_table : hash_grid_backward_table;
    backward(b.row(in), 1, b.stride, b.row(out), 1, b.stride, s.pointer<const i64>(2), all, 1, s.integer(3), s.n_in(),
             s.integer(4), s.pointer<const float>(5), s.integer(6), s.integer(7), s.pointer<float>(8), s.pointer<u64>(9),
             n_threads);
}

inline vfloat raw_density(const Stage& s, const Block& b, i64 c) { return load(b.row(s.in()) + c) + s.number(1); }

inline void density(const Stage& s, const Block& b) {
    const bool softplus = s.integer(0) == 1;
    for (i64 c = 0; c < b.n; c += kWidth) {
        const vfloat raw = raw_density(s, b, c);
        const vfloat active = softplus ? mlp::activate<mlp::kSoftplus, mlp::Math>(raw, 0.0f).value : exp(raw);
        store(b.row(s.out()) + c, active * s.number(2));
    }
}

// grad[in] += grad[out] d density / d input
inline void density_backward(const Stage& s, const Block& b, const Block& grad) {
    const bool softplus = s.integer(0) == 1;
    for (i64 c = 0; c < b.n; c += kWidth) {
        const vfloat raw = raw_density(s, b, c);
        const vfloat slope = softplus ? mlp::activate<mlp::kSoftplus, mlp::Math>(raw, 0.0f).first
                                      : exp(raw > kMaxLogDensity ? splat(kMaxLogDensity) : raw);
        float* target = grad.row(s.in()) + c;
        store(target, load(target) + load(grad.row(s.out()) + c) * slope * s.number(2));
    }
}

// The network on columns of the block, kBlock at a time; `kept` (unless null) holds what its backward pass needs, one
// block after the other.
inline void network(const Stage& s, const Block& b, float* kept, float* scratch) {
    const mlp::Network net = s.network();
    float *x = scratch, *y = x + i64(s.n_in()) * mlp::kBlock, *rest = y + i64(s.n_out()) * mlp::kBlock;
    for (i64 c = 0; c < b.n; c += mlp::kBlock) {
        const int count = b.n - c < mlp::kBlock ? int(b.n - c) : mlp::kBlock;
        read_block(b.in(s.in()), c, count, s.n_in(), x);
        if (kept) mlp::forward_keeping_block(net, x, count, y, kept + c / mlp::kBlock * mlp::kept_size(net.shape));
        else mlp::forward_block(net, x, count, y, rest);
        write_block(y, c, count, s.n_out(), b.out(s.out()));
    }
}

// grad [n_in - first_in rows from `to` on] = gradient to the inputs from first_in on; partial += that of the parameters.
inline void network_backward(const Stage& s, const Block& b, const Block& grad, float* kept, RowsOut to, int first_in,
                             float* partial, float* scratch) {
    const mlp::Network net = s.network();
    float *x = scratch, *gy = x + i64(s.n_in()) * mlp::kBlock, *gx = gy + i64(s.n_out()) * mlp::kBlock;
    float* flipped = gx + i64(s.n_in()) * mlp::kBlock;
    for (i64 c = 0; c < b.n; c += mlp::kBlock) {
        const int count = b.n - c < mlp::kBlock ? int(b.n - c) : mlp::kBlock;
        read_block(b.in(s.in()), c, count, s.n_in(), x);
        read_block(grad.in(s.out()), c, count, s.n_out(), gy);
        mlp::backward_kept_block(net, x, gy, count, kept + c / mlp::kBlock * mlp::kept_size(net.shape), gx, first_in,
                                 partial, flipped);
        write_block(gx, c, count, s.n_in() - first_in, to);
    }
}
inline i64 network_backward_scratch(const mlp::Shape& s) {
    return (2 * i64(s.n_in) + s.n_out) * mlp::kBlock + mlp::widest_input(s) * mlp::kBlock;
}

inline void directions(const Stage& s, const Block& b) {
    spherical_harmonics_forward(b.row(s.in()), 1, b.stride, b.n, s.integer(0), b.row(s.out()), 1, b.stride, 1);
}

// Stages first .. last-1 on the samples of the block.
inline void forward(const Program& program, int first, int last, const Block& b, float* scratch) {
    for (int i = first; i < last && b.n > 0; ++i) {
        const Stage s = program.stage(i);
        switch (s.kind()) {
        case kUnitCube: unit_cube(s, b); break;
        case kHashGrid:
        case kSimplex: encode(s, b, s.in(), s.out(), 1); break;
        case kNetwork: network(s, b, nullptr, scratch); break;
        case kDensity: density(s, b); break;
        default: directions(s, b);
        }
    }
}

} // namespace field
} // namespace NEURAL_ISA
} // namespace neural
