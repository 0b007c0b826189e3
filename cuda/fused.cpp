// The forward pass of the fused renderer on the CPU: groups of rays over threads, each from its first sample to its end.
#include "fused.h"
#include "common/transmittance.h"
#include "field_block.h"
#include "ray_place.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using field::Block;
using field::Program;

struct Shape { // which rows hold what
    int n_density, density, rgb, keep, n_keep;
};

// A ray on its way.
struct Ray {
    i64 looked_up, visible;
    float light, depth, alpha, rgb[3];
    int n_seen; // in this wave
    bool nan;
};

struct Target {
    float *rgb, *alpha, *depth;
    i64 *counts, *broken;
};

// Memory of one thread.
struct Room {
    Block block;
    float *starts, *ends, *weights, *scratch;

    static i64 size(const Program& p, i64 capacity) { return (p.n_rows + 3) * (capacity + kWidth) + p.scratch(); }
    Room(float* memory, const Program& p, i64 capacity) {
        const i64 stride = capacity + kWidth; // whole vectors may pass the end
        block = {memory, stride, 0};
        starts = block.row(p.n_rows);
        ends = starts + stride;
        weights = ends + stride;
        scratch = weights + stride;
    }
};

// Light along a ray's wave: moves what can be seen to `seen` on and gives the weights there.
void composite_wave(const Shape& shape, const Wave& wave, const Room& room, float early_stop, i64 seen, Ray& ray) {
    const Samples samples{room.block.row(shape.density), room.starts, room.ends};
    vfloat sum_w{}, sum_t{};
    int n = 0;
    float light = ray.light;
    bool nan = false;
    walk(samples, wave.at, wave.count, early_stop,
         [&](i64 i, i64 count, vfloat opacity, vfloat before, vfloat after, vint kept) {
             const vint visible = kept & (opacity >= 0.0f); // a NaN cannot be seen
             const vfloat w = visible ? before * opacity : splat(0.0f);
             const i64 at = wave.at + i;
             const vfloat middle = 0.5f * (load_first(room.starts + at, count) + load_first(room.ends + at, count));
             sum_w += w;
             sum_t += w * middle;
             store(room.weights + seen + i, w);
             for (i64 l = 0; l < count; ++l) n += visible[l] & 1;
             nan |= any(opacity != opacity);
             light = after[kWidth - 1];
         },
         ray.light);
    if (n > 0) {
        ray.alpha += lane_sum(sum_w);
        ray.depth += lane_sum(sum_t);
    }
    ray.light = light;
    ray.nan |= nan;
    ray.n_seen = n;
    ray.looked_up += wave.count;
    ray.visible += n;
}

// The rows that the colour needs, moved from the wave's samples to those that can be seen. `to` is never behind `from`.
void move_rows(const Shape& shape, const Room& room, i64 from, i64 to, int n) {
    if (from == to) return;
    for (int r = shape.keep; r < shape.keep + shape.n_keep; ++r)
        __builtin_memmove(room.block.row(r) + to, room.block.row(r) + from, size_t(n) * sizeof(float));
}

void run_group(const Marched& rays, const Program& program, const Shape& shape, float early_stop, i64 first, int n,
               const float* spans, Room& room, Ray* state, Wave* waves, const Target& target) {
    for (int i = 0; i < n; ++i) {
        state[i] = {0, 0, 1.0f, 0.0f, 0.0f, {0.0f, 0.0f, 0.0f}, 0, false};
        waves[i] = {first + i, spans ? spans[first + i] : -1.0f, 0, 0, 0};
    }
    int alive = n;
    for (int rank = 0; alive > 0;) {
        const int length = wave_length(rank);
        rank += length;
        for (int i = 0; i < alive; ++i) {
            waves[i].room = length;
            waves[i].at = i64(i) * length;
        }
        march_wave(rays, waves, alive, room.starts, room.ends);
        i64 n_samples = 0, n_seen = 0;
        for (int i = 0; i < alive; ++i) {
            Wave& wave = waves[i];
            if (wave.at != n_samples && wave.count > 0) {
                __builtin_memmove(room.starts + n_samples, room.starts + wave.at, size_t(wave.count) * sizeof(float));
                __builtin_memmove(room.ends + n_samples, room.ends + wave.at, size_t(wave.count) * sizeof(float));
            }
            wave.at = n_samples;
            n_samples += wave.count;
            place(rays, wave, room.starts, room.ends, room.block);
        }
        room.block.n = n_samples;
        field::forward(program, 0, shape.n_density, room.block, room.scratch);
        for (int i = 0; i < alive; ++i) {
            Ray& ray = state[waves[i].ray - first];
            composite_wave(shape, waves[i], room, early_stop, n_seen, ray);
            move_rows(shape, room, waves[i].at, n_seen, ray.n_seen);
            n_seen += ray.n_seen;
        }
        i64 at = 0;
        for (int i = 0; i < alive; ++i) {
            const int seen = state[waves[i].ray - first].n_seen;
            point(rays, waves[i].ray, room.block, at, seen);
            at += seen;
        }
        room.block.n = n_seen;
        field::forward(program, shape.n_density, program.n_stages, room.block, room.scratch);
        at = 0;
        int still = 0;
        for (int i = 0; i < alive; ++i) {
            Ray& ray = state[waves[i].ray - first];
            if (ray.n_seen > 0) {
                vfloat sums[3]{};
                for (i64 j = 0; j < ray.n_seen; j += kWidth) {
                    const i64 count = ray.n_seen - j;
                    const vfloat w = load_first(room.weights + at + j, count);
                    for (int k = 0; k < 3; ++k) sums[k] += w * load_first(room.block.row(shape.rgb + k) + at + j, count);
                }
                for (int k = 0; k < 3; ++k) ray.rgb[k] += lane_sum(sums[k]);
            }
            at += ray.n_seen;
            if (waves[i].count == waves[i].room && ray.light >= early_stop) waves[still++] = waves[i];
        }
        alive = still;
    }
    i64 broken = 0;
    for (int i = 0; i < n; ++i) {
        const i64 r = first + i;
        for (int k = 0; k < 3; ++k) target.rgb[3 * r + k] = state[i].rgb[k];
        target.alpha[r] = state[i].alpha;
        target.depth[r] = state[i].depth;
        target.counts[2 * r] = state[i].looked_up;
        target.counts[2 * r + 1] = state[i].visible;
        broken += state[i].nan;
    }
    if (broken) __atomic_fetch_add(target.broken, broken, __ATOMIC_RELAXED);
}

} // namespace

void fused_forward(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                   i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                   const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                   const u8* bitfield, const float* spans, const i64* stages, int n_stages, int n_rows, int n_density,
                   int density, int rgb_row, int keep, int n_keep, float early_stop, int group, float* rgb,
                   float* alpha, float* depth, i64* counts, i64* broken, int n_threads) {
    const Marched rays{{origins, origin_stride_n, origin_stride_k}, {directions, direction_stride_n, direction_stride_k},
                       t_min, t_max, jitter, {settings, n_cascades, resolution}, cone != 0, bitfield};
    const Program program{stages, n_stages, n_rows};
    const Shape shape{n_density, density, rgb_row, keep, n_keep};
    const Target target{rgb, alpha, depth, counts, broken};
    const i64 n_groups = (n + group - 1) / group, capacity = i64(group) * kLongestWave;
    const int team = team_size(n_groups, n_threads);
    const i64 length = (Room::size(program, capacity) + 15) / 16 * 16;
    const Scratch<float> memory(length * team);
    const Scratch<Ray> states(i64(group) * team);
    const Scratch<Wave> waves(i64(group) * team);
    parallel_for_threads(n_groups, n_threads, [&](i64 task, int thread) {
        Room room(memory.data + thread * length, program, capacity);
        const i64 first = task * group, count = n - first < group ? n - first : group;
        run_group(rays, program, shape, early_stop, first, int(count), spans, room, states.data + thread * group,
                  waves.data + thread * group, target);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
