// A part of a fused backward pass: some rays' samples whose features are known, evaluated forward and back by one thread
// while they are in cache. What the two ways to train share: fused_backward.cpp (gradients from outside, everything
// marched again) and fused_step.cpp (the loss inside, everything marched once).
#pragma once
#include "composite.h"
#include "field_block.h"
#include "common/transmittance.h"
#include "ray_place.h"

namespace neural {
namespace NEURAL_ISA {
namespace fused {

using field::Block;
using field::Program;
using field::Stage;
using mlp::kBlock;

struct Outputs { // rows
    int density, rgb;
};

// Rays first .. last-1 with `samples` in front of the stop, whose gradients go to columns `at` on.
struct Part {
    i64 first, last, samples, at;
};

// What is known of each sample, one row each: where it begins and ends, its position in the unit cube, its features.
struct Columns {
    float* rows;
    i64 stride;
    int n_dims, n_features;

    int features() const { return 2 + n_dims; }
    int n_rows() const { return 2 + n_dims + n_features; }
    float* at(int row, i64 column) const { return rows + row * stride + column; }
};

// Where the networks' partial gradients lie, and what their backward pass keeps, per stage.
struct Layout {
    static constexpr int kMostStages = 32;
    i64 partial[kMostStages], kept[kMostStages], partial_size = 0, kept_size = 0, scratch;

    Layout(const Program& p, i64 capacity) : scratch(p.scratch()) {
        for (int i = 0; i < p.n_stages; ++i) {
            partial[i] = partial_size;
            kept[i] = kept_size;
            if (p.stage(i).kind() != field::kNetwork) continue;
            const mlp::Shape s = p.stage(i).network().shape;
            partial_size += (affine::partial_size(s) + 15) / 16 * 16;
            kept_size += (capacity + kBlock - 1) / kBlock * mlp::kept_size(s);
            const i64 size = field::network_backward_scratch(s);
            scratch = size > scratch ? size : scratch;
        }
    }
};

// Memory of one thread: a part's rows and their gradients, its rays, what networks keep.
struct Room {
    Block block, grad;
    float *starts, *ends, *weights, *kept, *scratch;
    float *rgb, *alpha, *depth, *grad_rgb, *grad_alpha, *grad_depth; // per ray
    i64* packed;
    Wave* waves;

    static i64 size(const Program& p, const Layout& layout, i64 capacity) {
        const i64 per_ray = 10 + 2 * i64(sizeof(i64) / sizeof(float)) + i64(sizeof(Wave) / sizeof(float));
        return ((2 * p.n_rows + 3) * (capacity + kWidth) + layout.kept_size + layout.scratch + capacity * per_ray + 31) /
               16 * 16;
    }
    Room(float* memory, const Program& p, const Layout& layout, i64 capacity) {
        const i64 stride = capacity + kWidth; // whole vectors may pass the end
        float* at = memory;
        const auto take = [&](i64 size) {
            float* begin = at;
            at += size;
            return begin;
        };
        kept = take(layout.kept_size);
        scratch = take(layout.scratch);
        packed = (i64*)take(2 * capacity * i64(sizeof(i64) / sizeof(float)));
        waves = (Wave*)take(capacity * i64(sizeof(Wave) / sizeof(float)));
        block = {take(p.n_rows * stride), stride, 0};
        grad = {take(p.n_rows * stride), stride, 0};
        starts = take(stride);
        ends = take(stride);
        weights = take(stride);
        rgb = take(3 * capacity);
        grad_rgb = take(3 * capacity);
        alpha = take(capacity);
        depth = take(capacity);
        grad_alpha = take(capacity);
        grad_depth = take(capacity);
    }
};

// A few floats, mostly fewer than a vector.
inline void copy_run(const float* from, float* to, i64 n) {
    for (i64 i = 0; i < n; i += kWidth) store_first(to + i, load_first(from + i, n - i), n - i);
}

// The part's rays that have samples in front of the stop, `counts` [R, 2] of which are theirs; gives their number.
inline int rays_of(const Part& part, const i64* counts, const float* spans, Wave* waves) {
    int n = 0;
    i64 at = 0;
    for (i64 r = part.first; r < part.last; ++r) {
        const i64 count = counts[2 * r + 1];
        if (count == 0) continue;
        waves[n++] = {r, spans ? spans[r] : -1.0f, int(count), int(count), at};
        at += count;
    }
    return n;
}

// From the features on, forward and back to their gradient, which `grads` takes with the positions.
//   column(wave): where `known` has the ray's samples
//   upstream(i, ray): fills room.grad_* of the part's i-th ray, whose results are in room.rgb, alpha and depth
template <class Column, class Upstream>
void run_part(const Marched& rays, const Program& program, int encode, const Layout& layout, const Outputs& outputs,
              const Part& part, const i64* counts, Room& room, float* partials, const Columns& known,
              const Column& column, const Upstream& upstream, const Columns& grads) {
    const int n = rays_of(part, counts, nullptr, room.waves);
    room.block.n = room.grad.n = part.samples;
    const Block &b = room.block, &g = room.grad;
    const i64 features = program.stage(encode).out();
    for (int i = 0; i < n; ++i) {
        const Wave& wave = room.waves[i];
        const i64 from = column(wave);
        room.packed[2 * i] = wave.at;
        room.packed[2 * i + 1] = wave.count;
        copy_run(known.at(0, from), room.starts + wave.at, wave.count);
        copy_run(known.at(1, from), room.ends + wave.at, wave.count);
        for (int k = 0; k < known.n_dims; ++k)
            copy_run(known.at(2 + k, from), grads.at(2 + k, part.at + wave.at), wave.count);
        for (int k = 0; k < known.n_features; ++k)
            copy_run(known.at(known.features() + k, from), b.row(features + k) + wave.at, wave.count);
        point(rays, wave.ray, b, wave.at, wave.count);
    }
    for (int i = encode + 1; i < program.n_stages; ++i) {
        if (program.stage(i).kind() == field::kNetwork)
            field::network(program.stage(i), b, room.kept + layout.kept[i], room.scratch);
        else field::forward(program, i, i + 1, b, room.scratch);
    }
    composite_forward(b.row(outputs.density), b.row(outputs.rgb), 1, b.stride, room.starts, room.ends, room.packed, n, 3,
                      0.0f, room.rgb, room.alpha, room.depth, room.weights, 1);
    for (int i = 0; i < n; ++i) upstream(i, room.waves[i].ray);
    composite_backward(b.row(outputs.density), b.row(outputs.rgb), 1, b.stride, room.starts, room.ends, room.packed, n, 3,
                       0.0f, room.weights, room.grad_rgb, room.grad_alpha, room.grad_depth, nullptr,
                       g.row(outputs.density), g.row(outputs.rgb), 1, g.stride, 1);
    for (int i = program.n_stages - 1; i > encode; --i) {
        const Stage s = program.stage(i);
        if (s.kind() == field::kNetwork) {
            const int skip = s.integer(8);
            field::network_backward(s, b, g, room.kept + layout.kept[i], g.out(s.in() + skip), skip,
                                    s.pointer<float>(7) ? partials + layout.partial[i] : nullptr, room.scratch);
        } else if (s.kind() == field::kDensity) {
            field::density_backward(s, b, g);
        }
    }
    for (int k = 0; k < known.n_features; ++k)
        __builtin_memcpy(grads.at(grads.features() + k, part.at), g.row(features + k),
                         size_t(part.samples) * sizeof(float));
}

// The next part, from ray `first` on, of at most `size` samples or one ray.
inline Part next_part(const i64* counts, i64 first, i64 end, i64 size, i64 at) {
    Part p{first, first, 0, at};
    for (; p.last < end; ++p.last) {
        const i64 more = counts[2 * p.last + 1];
        if (p.samples > 0 && p.samples + more > size) break;
        p.samples += more;
    }
    return p;
}

// The partial gradients of all networks, in order, to where the stages say.
inline void reduce(const Program& program, const Layout& layout, const float* partials, int n, int n_threads) {
    for (int i = 0; i < program.n_stages; ++i) {
        const Stage s = program.stage(i);
        if (s.kind() == field::kNetwork && s.pointer<float>(7))
            affine::reduce(s.network().shape, partials + layout.partial[i], n, layout.partial_size, s.pointer<float>(7),
                           true, n_threads);
    }
}

} // namespace fused
} // namespace NEURAL_ISA
} // namespace neural
