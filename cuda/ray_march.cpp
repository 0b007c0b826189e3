// Ray marching on the CPU: one ray per lane, groups of rays over threads. Compiled without contraction (CMakeLists.txt),
// so every instruction set finds the same samples.
#include "ray_march.h"
#include "common/features.h"
#include "common/threads.h"
#include "ray_march.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 128; // rays per task

typedef u64 vwords __attribute__((vector_size(8 * kWidth)));

NEURAL_HD vwords gather(const u8* words, vint index) { // loads beat the gather instructions of the x86s measured
    i32 at[kWidth];
    u64 lanes[kWidth];
    __builtin_memcpy(at, &index, sizeof(at));
    for (int l = 0; l < kWidth; ++l) __builtin_memcpy(&lanes[l], words + i64(at[l]) * 8, 8);
    vwords v;
    __builtin_memcpy(&v, lanes, sizeof(v));
    return v;
}

NEURAL_HD bool any(vint mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
    int found = 0;
    for (int l = 0; l < kWidth; ++l) found |= mask[l];
    return found != 0;
#endif
}

struct Lanes {
    using Float = vfloat;
    using Int = vint;
    static NEURAL_HD vfloat splat(float v) { return NEURAL_ISA::splat(v); }
    static NEURAL_HD vint splat_int(int v) { return NEURAL_ISA::splat(v); }
    static NEURAL_HD vfloat product(vfloat a, float b) { return a * b; }
    static NEURAL_HD vfloat product(vfloat a, vfloat b) { return a * b; }
    static NEURAL_HD vint to_int(vfloat v) { return NEURAL_ISA::to_int(v); }
    static NEURAL_HD vfloat to_float(vint v) { return NEURAL_ISA::to_float(v); }
    static NEURAL_HD vint as_int(vfloat v) { return NEURAL_ISA::as_int(v); }
    static NEURAL_HD vfloat as_float(vint v) { return NEURAL_ISA::as_float(v); }
    static NEURAL_HD vfloat exp(vfloat v) { return NEURAL_ISA::exp(v); }
    static NEURAL_HD vfloat log(vfloat v) { return NEURAL_ISA::log(v); }
    const u8* bitfield;

    static NEURAL_HD vuint spread(vint cell, bool wide) {
        return wide ? morton::spread((vuint)cell) : morton::spread_8((vuint)cell);
    }

    // The uniform block around a cell: side in voxels (4, 2 or 1), and whether it is occupied. The 64 voxels of a 4^3
    // block are one word of the Morton-ordered bitfield, the 8 of a 2^3 block one of its bytes.
    NEURAL_HD void block(const march::Grid& grid, vint level, const vint (&cell)[3], vint& size, vint& occupied) const {
        const bool wide = grid.resolution > 256;
        const vuint code = spread(cell[0], wide) | (spread(cell[1], wide) << 1) | (spread(cell[2], wide) << 2);
        const int cascade = grid.resolution * grid.resolution * grid.resolution / 64; // words
        const vwords word = gather(bitfield, level * cascade + (vint)(code >> 6));
        const vwords bit = __builtin_convertvector(code & 63u, vwords);
        const vwords byte = (word >> (bit & 56u)) & 255u;
        const auto uniform4 = word + 1u < 2u, uniform2 = ((byte + 1u) & 254u) == 0u;
        size = __builtin_convertvector(uniform4 ? vwords{} + 4u : (uniform2 ? vwords{} + 2u : vwords{} + 1u), vint);
        occupied = __builtin_convertvector((word >> bit) & 1u, vint);
    }
};

struct Rays {
    Rows origins, directions;
    const float *t_min, *t_max, *jitter;

    // The rays `which[0 .. count-1]`; the other lanes repeat the last one.
    template <bool Cone> vfloat enter(const march::Grid& grid, const i64* which, int count, march::Ray<Lanes>& ray) const {
        vfloat o[3]{}, d[3]{}, u{}, near{}, far{};
        for (int l = 0; l < kWidth; ++l) {
            const i64 r = which[l < count ? l : count - 1];
            for (int i = 0; i < 3; ++i) {
                o[i][l] = origins.data[r * origins.stride_n + i * origins.stride_k];
                d[i][l] = directions.data[r * directions.stride_n + i * directions.stride_k];
            }
            u[l] = jitter ? jitter[r] : 0.0f;
            near[l] = t_min[r];
            far[l] = l < count ? t_max[r] : near[l]; // an empty range ends at once
        }
        return march::enter<Lanes, Cone>(grid, o, d, u, near, far, ray);
    }
};

NEURAL_HD void put(vfloat& v, vint here, float x) { v = here ? splat(x) : v; }

// Lane `from` of one group of rays into the lanes `here` of another.
NEURAL_HD void take(march::Ray<Lanes>& ray, vint here, const march::Ray<Lanes>& other, int from) {
    for (int i = 0; i < 3; ++i) {
        put(ray.origin[i], here, other.origin[i][from]);
        put(ray.direction[i], here, other.direction[i][from]);
        put(ray.inverse[i], here, other.inverse[i][from]);
        put(ray.inward[i], here, other.inward[i][from]);
    }
    put(ray.jitter, here, other.jitter[from]);
    put(ray.t_min, here, other.t_min[from]);
    put(ray.t_end, here, other.t_end[from]);
}

// Marches the rays which[0 .. n-1], n <= kChunk; a lane whose ray ends goes on with the next one.
//   span(r, k, to): may narrow the lattice indices [k, to) that ray r is marched over
//   begin(l, r), end(l, r): ray r enters and leaves lane l
//   claim(lanes, k, next, jitter): in these lanes, [k, next) are samples
template <bool Cone, class Span, class Begin, class Claim, class End>
NEURAL_HD void walk(const Rays& rays, const i64* which, int n, const march::Grid& grid, const Lanes& lanes,
                    const Span& span, const Begin& begin, const Claim& claim, const End& end) {
    march::Ray<Lanes> waiting[kChunk / kWidth], ray{};
    vfloat entries[kChunk / kWidth];
    for (int j = 0; j < n; j += kWidth)
        entries[j / kWidth] = rays.enter<Cone>(grid, which + j, n - j < kWidth ? n - j : kWidth, waiting[j / kWidth]);

    vint number, alive{};
    for (int l = 0; l < kWidth; ++l) number[l] = l;
    i64 held[kWidth];
    vfloat k{}, to{}, next;
    int taken = 0;
    auto refill = [&](int l) {
        const vint here = number == l;
        alive = here ? vint{} : alive;
        if (taken == n) return;
        const int group = taken / kWidth, from = taken % kWidth;
        float first = entries[group][from], last = march::kMaxIndex;
        held[l] = which[taken++];
        span(held[l], first, last);
        take(ray, here, waiting[group], from);
        put(k, here, first);
        put(to, here, last);
        alive = here ? ~vint{} : alive;
        begin(l, held[l]);
    };
    for (int l = 0; l < kWidth; ++l) refill(l);
    while (any(alive)) {
        vint filled;
        const vint active = march::visit<Lanes, Cone>(grid, lanes, ray, k, next, filled) & (k < to) & alive;
        claim(active & (filled != 0), k, next, ray.jitter);
        k = active ? next : k;
        const vint done = alive & ~active;
        if (!any(done)) continue;
        for (int l = 0; l < kWidth; ++l) {
            if (!done[l]) continue;
            end(l, held[l]);
            refill(l);
        }
    }
}

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
            rays, which, size, grid, lanes, [](i64, float&, float&) {},
            [&](int l, i64) { total[l] = from[l] = to[l] = 0.0f; },
            [&](vint found, vfloat k, vfloat next, vfloat) {
                from = found ? (total > 0.0f ? from : k) : from;
                total = found ? total + (next - k) : total; // whole numbers up to 2^23: exact
                to = found ? next : to;
            },
            [&](int l, i64 r) {
                packed_info[2 * r] = 0;
                packed_info[2 * r + 1] = i64(total[l]);
                spans[r] = from[l];
                spans[n + r] = to[l];
            });
    });
}

// The lattice from index k on: `n` samples at `starts`, `ends`, which have room for `room`.
template <bool Cone>
void write_run(const float* settings, float k, float jitter, i64 n, i64 room, float* starts, float* ends) {
    vfloat lane;
    for (int l = 0; l < kWidth; ++l) lane[l] = float(l);
    for (i64 i = 0; i < n; i += kWidth) {
        const vfloat x = lane + (k + float(i)) + jitter;
        const int count = room - i < kWidth ? int(room - i) : kWidth; // what lies past the run is written over later
        store(starts + i, march::depth<Lanes, Cone>(settings, x), count);
        store(ends + i, march::depth<Lanes, Cone>(settings, x + 1.0f), count);
    }
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
            [&](i64 r, float& first, float& last) {
                first = spans[r];
                last = spans[n + r];
            },
            [&](int l, i64 r) {
                at[l] = packed_info[2 * r];
                stop[l] = at[l] + packed_info[2 * r + 1];
            },
            [&](vint found, vfloat k, vfloat next, vfloat jitter) {
                if (!any(found)) return;
                for (int l = 0; l < kWidth; ++l) {
                    if (!found[l]) continue;
                    const i64 room = stop[l] - at[l], size = i64(next[l] - k[l]), run = size < room ? size : room;
                    write_run<Cone>(grid.settings, k[l], jitter[l], run, room, t_starts + at[l], t_ends + at[l]);
                    at[l] += run;
                }
            },
            [](int, i64) {});
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
