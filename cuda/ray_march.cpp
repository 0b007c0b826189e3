// Ray marching on the CPU: one ray per lane, groups of rays over threads. Compiled without contraction (CMakeLists.txt),
// so every instruction set finds the same samples.
#include "ray_march.h"
#include "common/threads.h"
#include "ray_walk.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using namespace ray_walk;

template <bool Cone>
void count(const Rays& rays, i64 n, const march::Grid& grid, const Lanes& lanes, i64* packed_info, float* spans,
           int n_threads) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 first = chunk * kChunk;
        const int size = n - first < kChunk ? int(n - first) : int(kChunk);
        i64 which[kChunk];
        for (int j = 0; j < size; ++j) which[j] = first + j;
        vfloat total{}, from{}, to{};
        walk<Cone>(
            rays, which, size, grid, lanes, [](int, float&, float&) {},
            [&](int l, int) { total[l] = from[l] = to[l] = 0.0f; },
            [&](vint found, vfloat k, vfloat next, vfloat) {
                from = found ? (total > 0.0f ? from : k) : from;
                total = found ? total + (next - k) : total; // whole numbers up to 2^23: exact
                to = found ? next : to;
                return vint{};
            },
            [&](int l, int i) {
                const i64 r = which[i];
                packed_info[2 * r] = 0;
                packed_info[2 * r + 1] = i64(total[l]);
                spans[r] = from[l];
                spans[n + r] = to[l];
            });
    });
}

template <bool Cone>
void write(const Rays& rays, i64 n, const march::Grid& grid, const Lanes& lanes, const float* spans,
           const i64* packed_info, float* t_starts, float* t_ends, i64* ray_indices, int n_threads) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        i64 hits[kChunk];
        int n_hits = 0;
        for (i64 r = chunk * kChunk; r < end; ++r) {
            const i64 start = packed_info[2 * r], size = packed_info[2 * r + 1];
            for (i64 s = start; s < start + size; ++s) ray_indices[s] = r;
            if (size > 0) hits[n_hits++] = r;
        }
        i64 at[kWidth], stop[kWidth];
        walk<Cone>(
            rays, hits, n_hits, grid, lanes,
            [&](int i, float& first, float& last) {
                first = spans[hits[i]];
                last = spans[n + hits[i]];
            },
            [&](int l, int i) {
                at[l] = packed_info[2 * hits[i]];
                stop[l] = at[l] + packed_info[2 * hits[i] + 1];
            },
            [&](vint found, vfloat k, vfloat next, vfloat jitter) {
                if (!any(found)) return vint{};
                for (int l = 0; l < kWidth; ++l) {
                    if (!found[l]) continue;
                    const i64 room = stop[l] - at[l], size = i64(next[l] - k[l]), run = size < room ? size : room;
                    write_run<Cone>(grid.settings, k[l], jitter[l], run, room, t_starts + at[l], t_ends + at[l]);
                    at[l] += run;
                }
                return vint{};
            },
            [](int, int) {});
    });
}

} // namespace

void ray_march_count(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                     i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                     const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                     const u8* bitfield, i64* packed_info, float* spans, int n_threads) {
    const Rays rays{{origins, origin_stride_n, origin_stride_k},
                    {directions, direction_stride_n, direction_stride_k}, t_min, t_max, jitter};
    const march::Grid grid{settings, n_cascades, resolution};
    if (cone) count<true>(rays, n, grid, {bitfield}, packed_info, spans, n_threads);
    else count<false>(rays, n, grid, {bitfield}, packed_info, spans, n_threads);
}

void ray_march_write(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                     i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                     const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                     const u8* bitfield, const float* spans, const i64* packed_info, float* t_starts, float* t_ends,
                     i64* ray_indices, int n_threads) {
    const Rays rays{{origins, origin_stride_n, origin_stride_k},
                    {directions, direction_stride_n, direction_stride_k}, t_min, t_max, jitter};
    const march::Grid grid{settings, n_cascades, resolution};
    if (cone) write<true>(rays, n, grid, {bitfield}, spans, packed_info, t_starts, t_ends, ray_indices, n_threads);
    else write<false>(rays, n, grid, {bitfield}, spans, packed_info, t_starts, t_ends, ray_indices, n_threads);
}

} // namespace NEURAL_ISA
} // namespace neural
