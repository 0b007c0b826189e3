// A training step of the fused renderer on the CPU, with the loss inside: every sample is marched and looked up once.
// Rays are cut into groups of so many samples (by their number in the grid, known beforehand), and a round takes a few:
//   the groups march wave after wave, and note what they looked up of the samples that can be seen;
//   these, cut into parts, are evaluated forward, compared, and back to the gradient of their features;
//   which goes to the table, a level after the other. Nothing of a round outlives it but sums and results per ray.
#include "common/transmittance.h"
#include "fused.h"
#include "fused_part.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using namespace fused;

constexpr int kLanes = 32; // partial sums: part i adds to the (i % kLanes)-th, so that their order is fixed

// Rays first .. last-1 with `samples` in the grid, noted from column `at` on.
struct Group {
    i64 first, last, samples, at;
};

struct Noted { // per ray of a group
    float light;
    i64 left; // samples not marched yet
};

struct Loss {
    int kind; // 0 square, 1 Huber
    float delta, scale;
    const float *target, *background, *weights; // [R, 3], [R, 3], [R] or null
    float *rgb, *alpha, *depth;

    // Results of a ray, and the gradient of scale * weight * loss(rgb + (1 - alpha) background - target) to them.
    void operator()(Room& room, int i, i64 ray) const {
        float to_alpha = 0.0f;
        const float factor = weights ? weights[ray] * scale : scale;
        alpha[ray] = room.alpha[i];
        depth[ray] = room.depth[i];
        for (int k = 0; k < 3; ++k) {
            const float behind = background[3 * ray + k];
            rgb[3 * ray + k] = room.rgb[3 * i + k];
            const float error = room.rgb[3 * i + k] + (1.0f - room.alpha[i]) * behind - target[3 * ray + k];
            const float bent = error < -delta ? -delta : error > delta ? delta : error; // NaN stays
            const float g = factor * (kind == 0 ? 2.0f * error : bent);
            room.grad_rgb[3 * i + k] = g;
            to_alpha -= g * behind;
        }
        room.grad_alpha[i] = to_alpha;
        room.grad_depth[i] = 0.0f;
    }
};

// Marches a group to the end of its light and notes its visible samples: those of ray r in front of the first that were
// noted for the next ray, `starts[r]` being the number of samples in the grid before r.
void look(const Marched& rays, const Program& program, int encode, int n_density, int density, float early_stop,
          const Group& group, const i64* packed_info, const float* spans, const Columns& known, Room& room, Noted* state,
          Wave* waves, i64* counts, i64* broken) {
    const i64 base = packed_info[2 * group.first];
    const int n_features = known.n_features;
    const i64 features = program.stage(encode).out(), positions = program.stage(encode).in();
    int alive = 0;
    i64 nan = 0;
    for (i64 r = group.first; r < group.last; ++r) {
        state[r - group.first] = {1.0f, packed_info[2 * r + 1]};
        counts[2 * r] = counts[2 * r + 1] = 0;
        if (packed_info[2 * r + 1] > 0) waves[alive++] = {r, spans[r], 0, 0, 0};
    }
    for (int rank = 0; alive > 0;) {
        const int length = wave_length(rank);
        rank += length;
        i64 n = 0;
        for (int i = 0; i < alive; ++i) {
            const i64 left = state[waves[i].ray - group.first].left;
            waves[i].room = left < length ? int(left) : length;
            waves[i].at = n;
            n += waves[i].room;
        }
        march_wave(rays, waves, alive, room.starts, room.ends);
        for (int i = 0; i < alive; ++i) place(rays, waves[i], room.starts, room.ends, room.block);
        room.block.n = n;
        field::forward(program, 0, n_density, room.block, room.scratch);
        const Samples samples{room.block.row(density), room.starts, room.ends};
        int still = 0;
        for (int i = 0; i < alive; ++i) {
            const Wave& wave = waves[i];
            Noted& ray = state[wave.ray - group.first];
            int seen = 0;
            bool broke = false;
            float light = ray.light;
            walk(samples, wave.at, wave.count, early_stop,
                 [&](i64, i64 count, vfloat opacity, vfloat, vfloat after, vint kept) {
                     const vint visible = kept & (opacity >= 0.0f); // a NaN cannot be seen
                     for (i64 l = 0; l < count; ++l) seen += visible[l] & 1;
                     broke |= any(opacity != opacity);
                     light = after[kWidth - 1];
                 },
                 ray.light);
            const i64 to = group.at + packed_info[2 * wave.ray] - base + counts[2 * wave.ray + 1];
            copy_run(room.starts + wave.at, known.at(0, to), seen);
            copy_run(room.ends + wave.at, known.at(1, to), seen);
            for (int k = 0; k < known.n_dims; ++k) copy_run(room.block.row(positions + k) + wave.at, known.at(2 + k, to), seen);
            for (int k = 0; k < n_features; ++k)
                copy_run(room.block.row(features + k) + wave.at, known.at(known.features() + k, to), seen);
            counts[2 * wave.ray] += wave.count;
            counts[2 * wave.ray + 1] += seen;
            ray.light = light;
            ray.left -= wave.count;
            nan += broke;
            if (wave.count == wave.room && ray.left > 0 && light >= early_stop) waves[still++] = wave;
        }
        alive = still;
    }
    if (nan) __atomic_fetch_add(broken, nan, __ATOMIC_RELAXED);
}

} // namespace

void fused_step(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int n_density,
                int density, int rgb_row, int, int, float early_stop, const i64* packed_info, int loss_kind, float delta,
                float scale, const float* target, const float* background, const float* weights, int group_size,
                int n_groups, int part_size, float* rgb, float* alpha, float* depth, i64* counts, i64* broken,
                int n_threads) {
    const Marched rays{{origins, origin_stride_n, origin_stride_k}, {directions, direction_stride_n, direction_stride_k},
                       t_min, t_max, jitter, {settings, n_cascades, resolution}, cone != 0, bitfield};
    const Program program{stages, n_stages, n_rows};
    const Loss loss{loss_kind, delta, scale, target, background, weights, rgb, alpha, depth};
    int encode = 0;
    while (!field::is_encoding(program.stage(encode))) ++encode;
    const Stage grid = program.stage(encode);
    i64 longest = 0;
    for (i64 r = 0; r < n; ++r) longest = packed_info[2 * r + 1] > longest ? packed_info[2 * r + 1] : longest;
    const i64 group_room = longest > group_size ? longest : group_size, room_size = longest > part_size ? longest : part_size;
    const i64 stride = n_groups * (group_room + kWidth);
    const Layout layout(program, room_size), wide(program, 0);
    const i64 look_length = Room::size(program, wide, group_room), part_length = Room::size(program, layout, room_size);
    const i64 length = look_length > part_length ? look_length : part_length;
    const Scratch<float> memory(length * team_size(kLanes, n_threads));
    Columns known{nullptr, stride, grid.n_in(), grid.n_out()}, grads = known;
    const Scratch<float> known_rows(stride * known.n_rows()), grad_rows(stride * known.n_rows());
    const Scratch<float> partials(layout.partial_size * kLanes);
    const Scratch<Noted> states(group_room * team_size(n_groups, n_threads));
    const Scratch<Group> groups(n_groups);
    const Scratch<Part> parts(stride / (part_size / 2 > 0 ? part_size / 2 : 1) + 2 * n_groups + 2);
    known.rows = known_rows.data;
    grads.rows = grad_rows.data;
    for (i64 i = 0; i < layout.partial_size * kLanes; ++i) partials.data[i] = 0.0f;
    for (i64 first = 0; first < n;) {
        int planned = 0;
        const i64 round = first;
        for (; planned < n_groups && first < n; ++planned) {
            Group g{first, first, 0, planned * (group_room + kWidth)};
            for (; g.last < n && g.last - g.first < group_room; ++g.last) {
                const i64 more = packed_info[2 * g.last + 1];
                if (g.samples > 0 && g.samples + more > group_room) break;
                g.samples += more;
            }
            groups.data[planned] = g;
            first = g.last;
        }
        parallel_for_threads(planned, n_threads, [&](i64 i, int thread) {
            Room room(memory.data + thread * length, program, wide, group_room);
            look(rays, program, encode, n_density, density, early_stop, groups.data[i], packed_info, spans, known, room,
                 states.data + thread * group_room, room.waves, counts, broken);
        });
        int n_parts = 0;
        i64 total = 0;
        for (i64 r = round; r < first; ++n_parts) {
            const Part p = parts.data[n_parts] = next_part(counts, r, first, part_size, total);
            total += p.samples;
            r = p.last;
        }
        if (total == 0) continue;
        const auto column = [&](const Wave& wave) {
            int g = 0;
            while (wave.ray >= groups.data[g].last) ++g;
            return groups.data[g].at + packed_info[2 * wave.ray] - packed_info[2 * groups.data[g].first];
        };
        parallel_for_threads(n_parts < kLanes ? n_parts : kLanes, n_threads, [&](i64 lane, int thread) {
            Room room(memory.data + thread * length, program, layout, room_size);
            for (i64 i = lane; i < n_parts; i += kLanes)
                if (parts.data[i].samples > 0)
                    run_part(rays, program, encode, layout, {density, rgb_row}, parts.data[i], counts, room,
                             partials.data + lane * layout.partial_size, known, column,
                             [&](int k, i64 ray) { loss(room, k, ray); }, grads);
        });
        field::encode_backward(grid, {grads.at(2, 0), stride, total}, 0, grads.n_dims, n_threads);
    }
    reduce(program, layout, partials.data, kLanes, n_threads);
}

} // namespace NEURAL_ISA
} // namespace neural
