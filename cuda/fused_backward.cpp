// The backward pass of the fused renderer on the CPU. Rays are cut into parts of about equal numbers of samples; a round
// takes as many parts as it may, in parallel: each marches and evaluates its samples again and leaves the gradient of
// their features. Then the round's features go to the tables, level by level. Nothing of a round outlives it but sums.
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

struct Rows3 { // which rows hold what
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

// What a round keeps of each sample for the tables: rows of positions and feature gradients, `columns` apart.
struct Kept {
    float* rows;
    i64 columns;
};

// The rays' samples, in front of the early stop, at rows 0-5; gives the number of rays that have any.
int march_part(const Marched& rays, const Part& part, const i64* counts, const float* spans, const Upstream& up,
               Room& room) {
    int n = 0;
    i64 at = 0;
    for (i64 r = part.first; r < part.last; ++r) {
        const i64 count = counts[2 * r + 1];
        if (count == 0) continue;
        room.waves[n] = {r, spans ? spans[r] : -1.0f, int(count), 0, at};
        room.packed[2 * n] = at;
        room.packed[2 * n + 1] = count;
        for (int k = 0; k < 3; ++k) room.grad_rgb[3 * n + k] = up.rgb ? up.rgb[3 * r + k] : 0.0f;
        room.grad_alpha[n] = up.alpha ? up.alpha[r] : 0.0f;
        room.grad_depth[n] = up.depth ? up.depth[r] : 0.0f;
        at += count;
        ++n;
    }
    march_wave(rays, room.waves, n, room.starts, room.ends);
    for (int i = 0; i < n; ++i) {
        const Wave& wave = room.waves[i];
        for (int k = 0; k < 3; ++k) {
            const float o = rays.origins.data[wave.ray * rays.origins.stride_n + k * rays.origins.stride_k];
            const float d = rays.directions.data[wave.ray * rays.directions.stride_n + k * rays.directions.stride_k];
            for (i64 c = wave.at; c < wave.at + wave.room; c += kWidth) {
                const vfloat t = ray_points::middle(load(room.starts + c), load(room.ends + c));
                store(room.block.row(k) + c, o + t * d);
                store(room.block.row(3 + k) + c, splat(d));
            }
        }
    }
    return n;
}

void run_part(const Marched& rays, const Program& program, const Layout& layout, const Rows3& rows, const Part& part,
              const i64* counts, const float* spans, const Upstream& up, Room& room, float* partials,
              const Kept& tables) {
    room.block.n = room.grad.n = part.samples;
    const int n = march_part(rays, part, counts, spans, up, room);
    const Block &b = room.block, &g = room.grad;
    for (int i = 0; i < program.n_stages; ++i) {
        if (program.stage(i).kind() == field::kNetwork)
            field::network(program.stage(i), b, room.kept + layout.kept[i], room.scratch);
        else field::forward(program, i, i + 1, b, room.scratch);
    }
    composite_forward(b.row(rows.density), b.row(rows.rgb), 1, b.stride, room.starts, room.ends, room.packed, n, 3, 0.0f,
                      room.rgb, room.alpha, room.depth, room.weights, 1);
    composite_backward(b.row(rows.density), b.row(rows.rgb), 1, b.stride, room.starts, room.ends, room.packed, n, 3,
                       0.0f, room.weights, room.grad_rgb, room.grad_alpha, room.grad_depth, nullptr,
                       g.row(rows.density), g.row(rows.rgb), 1, g.stride, 1);
    float* kept_rows = tables.rows;
    for (int i = program.n_stages - 1; i >= 0; --i) {
        const Stage s = program.stage(i);
        if (s.kind() == field::kNetwork) {
            const int skip = s.integer(8);
            field::network_backward(s, b, g, room.kept + layout.kept[i], g.out(s.in() + skip), skip,
                                    s.pointer<float>(7) ? partials + layout.partial[i] : nullptr, room.scratch);
        } else if (s.kind() == field::kDensity) {
            field::density_backward(s, b, g);
        } else if (s.kind() == field::kHashGrid) {
            const auto keep = [&](const float* row) {
                __builtin_memcpy(kept_rows + part.at, row, size_t(part.samples) * sizeof(float));
                kept_rows += tables.columns;
            };
            for (int k = 0; k < s.n_in(); ++k) keep(b.row(s.in() + k));
            for (int k = 0; k < s.n_out(); ++k) keep(g.row(s.out() + k));
        }
    }
}

// A round's gradients to the tables, each level by one thread.
void add_to_tables(const Program& program, const Kept& tables, i64 n, int n_threads) {
    const i64 all[2] = {0, n};
    const float* rows = tables.rows;
    for (int i = program.n_stages - 1; i >= 0; --i) {
        const Stage s = program.stage(i);
        if (s.kind() != field::kHashGrid) continue;
        const float* grad = rows + s.n_in() * tables.columns;
        if (s.pointer<float>(8))
            hash_grid_backward_table(rows, 1, tables.columns, grad, 1, tables.columns, s.pointer<const i64>(2), all, 1,
                                     s.integer(3), s.n_in(), s.integer(4), s.pointer<const float>(5), s.integer(6),
                                     s.integer(7), s.pointer<float>(8), s.pointer<u64>(9), n_threads);
        rows = grad + s.n_out() * tables.columns;
    }
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
    int kept_rows = 0;
    for (int i = 0; i < n_stages; ++i)
        if (program.stage(i).kind() == field::kHashGrid) kept_rows += program.stage(i).n_in() + program.stage(i).n_out();
    const Scratch<float> memory(length * team), tables((columns + kWidth) * kept_rows);
    const Scratch<float> partials(layout.partial_size * n_parts);
    const Scratch<Part> parts(n_parts);
    const Kept kept{tables.data, columns + kWidth};
    for (i64 i = 0; i < layout.partial_size * n_parts; ++i) partials.data[i] = 0.0f;
    for (i64 first = 0; first < n;) {
        int n_planned;
        first = plan(counts, first, n, part, n_parts, columns, parts.data, n_planned);
        parallel_for_threads(n_planned, n_threads, [&](i64 i, int thread) {
            if (parts.data[i].samples == 0) return;
            Room room(memory.data + thread * length, program, layout, capacity, capacity);
            run_part(rays, program, layout, {density, rgb_row}, parts.data[i], counts, spans,
                     {grad_rgb, grad_alpha, grad_depth}, room, partials.data + i * layout.partial_size, kept);
        });
        const Part& last = parts.data[n_planned - 1];
        if (last.at + last.samples > 0) add_to_tables(program, kept, last.at + last.samples, n_threads);
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
