// The backward pass of the fused renderer on the CPU. Rays are cut into parts of about equal numbers of samples, and a
// round takes as many parts as it may. What is small goes part by part, what is large level by level:
//   the parts march their samples again; the round's features are looked up, a level of the table after the other;
//   the parts evaluate the rest forward and backward, and leave the gradient of their features in the features' place;
//   which goes to the table, a level after the other. Nothing of a round outlives it but sums.
#include "composite.h"
#include "field_block.h"
#include "fused.h"
#include "ray_points.cuh"
#include "ray_wave.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using field::Block;
using field::Program;
using field::Stage;
using mlp::kBlock;

struct Outputs { // rows
    int density, rgb;
};

struct Upstream {
    const float *rgb, *alpha, *depth; // of the rays; null: zero
};

// Rays first .. last-1 with `samples` in front of the stop, which a round keeps from column `at` on.
struct Part {
    i64 first, last, samples, at;
};

// Where the networks' partial gradients lie, and what their backward pass keeps, per stage.
struct Layout {
    i64 partial[32], kept[32], partial_size = 0, kept_size = 0, scratch;

    Layout(const Program& p, i64 blocks) : scratch(p.scratch()) {
        for (int i = 0; i < p.n_stages; ++i) {
            partial[i] = partial_size;
            kept[i] = kept_size;
            if (p.stage(i).kind() != field::kNetwork) continue;
            const mlp::Shape s = p.stage(i).network().shape;
            partial_size += (mlp::partial_size(s) + 15) / 16 * 16;
            kept_size += blocks * mlp::kept_size(s);
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

    static i64 size(const Program& p, const Layout& layout, i64 capacity, i64 n_rays) {
        const i64 stride = capacity + kWidth;
        return (2 * p.n_rows + 3) * stride + layout.kept_size + layout.scratch +
               n_rays * (10 + 4 + i64(sizeof(Wave) / sizeof(float))) + 64;
    }
    Room(float* memory, const Program& p, const Layout& layout, i64 capacity, i64 n_rays) {
        const i64 stride = capacity + kWidth;
        packed = (i64*)memory;
        waves = (Wave*)(packed + 2 * n_rays);
        float* at = (float*)(waves + n_rays);
        const auto take = [&](i64 size) {
            float* begin = at;
            at += size;
            return begin;
        };
        at = memory + (at - memory + 15) / 16 * 16;
        kept = take(layout.kept_size);
        scratch = take(layout.scratch);
        block = {take(p.n_rows * stride), stride, 0};
        grad = {take(p.n_rows * stride), stride, 0};
        starts = take(stride);
        ends = take(stride);
        weights = take(stride);
        rgb = take(3 * n_rays);
        grad_rgb = take(3 * n_rays);
        alpha = take(n_rays);
        depth = take(n_rays);
        grad_alpha = take(n_rays);
        grad_depth = take(n_rays);
    }
};

// What a round holds of each sample: where it begins and ends, its position in the unit cube, its features (in the end
// their gradient). Rows of `columns`.
struct Round {
    float* rows;
    i64 columns;
    int n_dims, n_features;

    int n_rows() const { return 2 + n_dims + n_features; }
    float* at(int row, i64 column) const { return rows + row * columns + column; }
};

void copy(const float* from, float* to, i64 n) { __builtin_memcpy(to, from, size_t(n) * sizeof(float)); }

// The part's rays that have samples in front of the stop; gives their number.
int rays_of(const Part& part, const i64* counts, const float* spans, Wave* waves) {
    int n = 0;
    i64 at = 0;
    for (i64 r = part.first; r < part.last; ++r) {
        const i64 count = counts[2 * r + 1];
        if (count == 0) continue;
        waves[n++] = {r, spans ? spans[r] : -1.0f, int(count), 0, at};
        at += count;
    }
    return n;
}

// What is looked up: the samples' places, after the stages in front of the encoding.
void march_part(const Marched& rays, const Program& program, int encode, const Part& part, const i64* counts,
                const float* spans, Room& room, const Round& round) {
    const int n = rays_of(part, counts, spans, room.waves);
    const Block& b = room.block;
    march_wave(rays, room.waves, n, room.starts, room.ends);
    for (int i = 0; i < n; ++i) {
        const Wave& wave = room.waves[i];
        for (int k = 0; k < 3; ++k) {
            const float o = rays.origins.data[wave.ray * rays.origins.stride_n + k * rays.origins.stride_k];
            const float d = rays.directions.data[wave.ray * rays.directions.stride_n + k * rays.directions.stride_k];
            for (i64 c = wave.at; c < wave.at + wave.room; c += kWidth)
                store(b.row(k) + c, o + ray_points::middle(load(room.starts + c), load(room.ends + c)) * d);
        }
    }
    room.block.n = part.samples;
    field::forward(program, 0, encode, b, room.scratch);
    copy(room.starts, round.at(0, part.at), part.samples);
    copy(room.ends, round.at(1, part.at), part.samples);
    for (int k = 0; k < round.n_dims; ++k)
        copy(b.row(program.stage(encode).in() + k), round.at(2 + k, part.at), part.samples);
}

// From the features on, forward and back to their gradient.
void run_part(const Marched& rays, const Program& program, int encode, const Layout& layout, const Outputs& outputs,
              const Part& part, const i64* counts, const Upstream& up, Room& room, float* partials, const Round& round) {
    const int n = rays_of(part, counts, nullptr, room.waves);
    room.block.n = room.grad.n = part.samples;
    const Block &b = room.block, &g = room.grad;
    const float *starts = round.at(0, part.at), *ends = round.at(1, part.at);
    const i64 features = program.stage(encode).out();
    for (int k = 0; k < round.n_features; ++k) copy(round.at(2 + round.n_dims + k, part.at), b.row(features + k), part.samples);
    for (int i = 0; i < n; ++i) {
        const Wave& wave = room.waves[i];
        const i64 r = wave.ray;
        room.packed[2 * i] = wave.at;
        room.packed[2 * i + 1] = wave.room;
        for (int k = 0; k < 3; ++k) {
            const float d = rays.directions.data[r * rays.directions.stride_n + k * rays.directions.stride_k];
            for (i64 c = wave.at; c < wave.at + wave.room; c += kWidth) store(b.row(3 + k) + c, splat(d));
            room.grad_rgb[3 * i + k] = up.rgb ? up.rgb[3 * r + k] : 0.0f;
        }
        room.grad_alpha[i] = up.alpha ? up.alpha[r] : 0.0f;
        room.grad_depth[i] = up.depth ? up.depth[r] : 0.0f;
    }
    for (int i = encode + 1; i < program.n_stages; ++i) {
        if (program.stage(i).kind() == field::kNetwork)
            field::network(program.stage(i), b, room.kept + layout.kept[i], room.scratch);
        else field::forward(program, i, i + 1, b, room.scratch);
    }
    composite_forward(b.row(outputs.density), b.row(outputs.rgb), 1, b.stride, starts, ends, room.packed, n, 3, 0.0f,
                      room.rgb, room.alpha, room.depth, room.weights, 1);
    composite_backward(b.row(outputs.density), b.row(outputs.rgb), 1, b.stride, starts, ends, room.packed, n, 3, 0.0f,
                       room.weights, room.grad_rgb, room.grad_alpha, room.grad_depth, nullptr, g.row(outputs.density),
                       g.row(outputs.rgb), 1, g.stride, 1);
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
    for (int k = 0; k < round.n_features; ++k) copy(g.row(features + k), round.at(2 + round.n_dims + k, part.at), part.samples);
}

// The parts of the next round, from ray `first` on: at most n_parts and `columns` samples. Gives the first ray behind.
i64 plan(const i64* counts, i64 first, i64 n, i64 part, int n_parts, i64 columns, Part* parts, int& n_planned) {
    i64 r = first, total = 0;
    for (n_planned = 0; n_planned < n_parts && r < n; ++n_planned) {
        Part p{r, r, 0, total};
        for (; p.last < n; ++p.last) {
            const i64 more = counts[2 * p.last + 1];
            if (p.samples > 0 && p.samples + more > part) break;
            if (total + p.samples + more > columns) break;
            p.samples += more;
        }
        if (p.last == r) break; // the next ray has no place in this round
        parts[n_planned] = p;
        total += p.samples;
        r = p.last;
    }
    return r;
}

} // namespace

void fused_backward(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                    i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                    const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                    const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int, int density,
                    int rgb_row, int, int, const i64* counts, const float* grad_rgb, const float* grad_alpha,
                    const float* grad_depth, int part, int n_parts, int n_threads) {
    const Marched rays{{origins, origin_stride_n, origin_stride_k}, {directions, direction_stride_n, direction_stride_k},
                       t_min, t_max, jitter, {settings, n_cascades, resolution}, cone != 0, bitfield};
    const Program program{stages, n_stages, n_rows};
    i64 capacity = part;
    for (i64 r = 0; r < n; ++r) capacity = counts[2 * r + 1] > capacity ? counts[2 * r + 1] : capacity;
    const i64 columns = i64(part) * n_parts > capacity ? i64(part) * n_parts : capacity;
    const Layout layout(program, (capacity + kBlock - 1) / kBlock);
    const i64 length = (Room::size(program, layout, capacity, capacity) + 15) / 16 * 16;
    const int team = team_size(n_parts, n_threads);
    int encode = 0;
    while (program.stage(encode).kind() != field::kHashGrid) ++encode;
    const Stage grid = program.stage(encode);
    Round round{nullptr, columns + kWidth, grid.n_in(), grid.n_out()};
    const Scratch<float> memory(length * team), columns_of(round.columns * round.n_rows());
    const Scratch<float> partials(layout.partial_size * n_parts);
    const Scratch<Part> parts(n_parts);
    round.rows = columns_of.data;
    for (i64 i = 0; i < layout.partial_size * n_parts; ++i) partials.data[i] = 0.0f;
    for (i64 first = 0; first < n;) {
        int n_planned;
        first = plan(counts, first, n, part, n_parts, columns, parts.data, n_planned);
        const auto each_part = [&](const auto& run) {
            parallel_for_threads(n_planned, n_threads, [&](i64 i, int thread) {
                if (parts.data[i].samples == 0) return;
                Room room(memory.data + thread * length, program, layout, capacity, capacity);
                run(i, room);
            });
        };
        each_part([&](i64 i, Room& room) {
            march_part(rays, program, encode, parts.data[i], counts, spans, room, round);
        });
        const i64 total = parts.data[n_planned - 1].at + parts.data[n_planned - 1].samples;
        if (total == 0) continue;
        const Block looked_up{round.at(2, 0), round.columns, total};
        field::hash_grid(grid, looked_up, 0, round.n_dims, n_threads);
        each_part([&](i64 i, Room& room) {
            run_part(rays, program, encode, layout, {density, rgb_row}, parts.data[i], counts,
                     {grad_rgb, grad_alpha, grad_depth}, room, partials.data + i * layout.partial_size, round);
        });
        field::hash_grid_backward(grid, looked_up, 0, round.n_dims, n_threads);
    }
    for (int i = 0; i < n_stages; ++i) {
        const Stage s = program.stage(i);
        if (s.kind() == field::kNetwork && s.pointer<float>(7))
            mlp::reduce(s.network().shape, partials.data + layout.partial[i], n_parts, layout.partial_size,
                        s.pointer<float>(7), true, n_threads);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
