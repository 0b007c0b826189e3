// The backward pass of the fused renderer on the CPU. Rays are cut into parts of about equal numbers of samples, and a
// round takes as many parts as it may. What is small goes part by part, what is large level by level:
//   the parts march their samples again; the round's features are looked up, a level of the table after the other;
//   the parts evaluate the rest forward and backward (fused_part.h), and leave the gradient of their features;
//   which goes to the table, a level after the other. Nothing of a round outlives it but sums.
#include "fused.h"
#include "fused_part.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using namespace fused;

// The places of a part's samples, after the stages in front of the encoding.
void march_part(const Marched& rays, const Program& program, int encode, const Part& part, const i64* counts,
                const float* spans, Room& room, const Columns& known) {
    const int n = rays_of(part, counts, spans, room.waves);
    march_wave(rays, room.waves, n, room.starts, room.ends);
    for (int i = 0; i < n; ++i) place(rays, room.waves[i], room.starts, room.ends, room.block);
    room.block.n = part.samples;
    field::forward(program, 0, encode, room.block, room.scratch);
    const auto note = [&](const float* row, int as) {
        __builtin_memcpy(known.at(as, part.at), row, size_t(part.samples) * sizeof(float));
    };
    note(room.starts, 0);
    note(room.ends, 1);
    for (int k = 0; k < known.n_dims; ++k) note(room.block.row(program.stage(encode).in() + k), 2 + k);
}

} // namespace

void fused_backward(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                    i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                    const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                    const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int, int density,
                    int rgb_row, int, int, const i64* counts, const float* grad_rgb, const float* grad_alpha,
                    const float* grad_depth, int part_size, int n_parts, int n_threads) {
    const Marched rays{{origins, origin_stride_n, origin_stride_k}, {directions, direction_stride_n, direction_stride_k},
                       t_min, t_max, jitter, {settings, n_cascades, resolution}, cone != 0, bitfield};
    const Program program{stages, n_stages, n_rows};
    i64 capacity = part_size;
    for (i64 r = 0; r < n; ++r) capacity = counts[2 * r + 1] > capacity ? counts[2 * r + 1] : capacity;
    const Layout layout(program, capacity);
    const i64 length = Room::size(program, layout, capacity), most = i64(part_size) * n_parts;
    int encode = 0;
    while (!field::is_encoding(program.stage(encode))) ++encode;
    const Stage grid = program.stage(encode);
    Columns known{nullptr, (most > capacity ? most : capacity) + kWidth, grid.n_in(), grid.n_out()};
    const Scratch<float> memory(length * team_size(n_parts, n_threads)), rows(known.stride * known.n_rows());
    const Scratch<float> partials(layout.partial_size * n_parts);
    const Scratch<Part> parts(n_parts);
    known.rows = rows.data;
    for (i64 i = 0; i < layout.partial_size * n_parts; ++i) partials.data[i] = 0.0f;
    for (i64 first = 0; first < n;) {
        int planned = 0;
        i64 total = 0;
        for (; planned < n_parts && first < n; ++planned) {
            const Part part = next_part(counts, first, n, part_size, total);
            if (total > 0 && total + part.samples > most) break;
            parts.data[planned] = part;
            total += part.samples;
            first = part.last;
        }
        const auto each_part = [&](const auto& run) {
            parallel_for_threads(planned, n_threads, [&](i64 i, int thread) {
                if (parts.data[i].samples == 0) return;
                Room room(memory.data + thread * length, program, layout, capacity);
                run(i, room);
            });
        };
        each_part([&](i64 i, Room& room) {
            march_part(rays, program, encode, parts.data[i], counts, spans, room, known);
        });
        if (total == 0) continue;
        const Block looked_up{known.at(2, 0), known.stride, total};
        field::encode(grid, looked_up, 0, known.n_dims, n_threads);
        each_part([&](i64 i, Room& room) {
            const i64 at = parts.data[i].at;
            run_part(rays, program, encode, layout, {density, rgb_row}, parts.data[i], counts, room,
                     partials.data + i * layout.partial_size, known, [&](const Wave& wave) { return at + wave.at; },
                     [&](int k, i64 r) {
                         for (int c = 0; c < 3; ++c) room.grad_rgb[3 * k + c] = grad_rgb ? grad_rgb[3 * r + c] : 0.0f;
                         room.grad_alpha[k] = grad_alpha ? grad_alpha[r] : 0.0f;
                         room.grad_depth[k] = grad_depth ? grad_depth[r] : 0.0f;
                     },
                     known);
        });
        field::encode_backward(grid, looked_up, 0, known.n_dims, n_threads);
    }
    reduce(program, layout, partials.data, n_parts, n_threads);
}

} // namespace NEURAL_ISA
} // namespace neural
