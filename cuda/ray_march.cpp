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

NEURAL_HD vwords gather(const u8* words, vint index) {
    vwords v;
#if defined(__AVX512F__)
    const __m512i low = _mm512_i32gather_epi64(_mm512_castsi512_si256((__m512i)index), words, 8);
    const __m512i high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64((__m512i)index, 1), words, 8);
    __builtin_memcpy(&v, &low, 64);
    __builtin_memcpy(reinterpret_cast<char*>(&v) + 64, &high, 64);
#else
    for (int l = 0; l < kWidth; ++l) {
        u64 word;
        __builtin_memcpy(&word, words + i64(index[l]) * 8, 8);
        v[l] = word;
    }
#endif
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

    static NEURAL_HD vuint spread(vint cell) {
        vuint v = (vuint)cell;
        v = (v | (v << 16)) & 0x030000FFu;
        v = (v | (v << 8)) & 0x0300F00Fu;
        v = (v | (v << 4)) & 0x030C30C3u;
        return (v | (v << 2)) & 0x09249249u;
    }

    // The uniform block around a cell: side in voxels (4, 2 or 1), and whether it is occupied. The 64 voxels of a 4^3
    // block are one word of the Morton-ordered bitfield, the 8 of a 2^3 block one of its bytes.
    NEURAL_HD void block(const march::Grid& grid, vint level, const vint (&cell)[3], vint& size, vint& occupied) const {
        const vuint code = spread(cell[0]) | (spread(cell[1]) << 1) | (spread(cell[2]) << 2);
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

template <bool Cone>
void count(const Rays& rays, i64 n, const march::Grid& grid, const Lanes& lanes, i64* counts, float* spans,
           int n_threads) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 first = chunk * kChunk; first < end; first += kWidth) {
            const int count = end - first < kWidth ? int(end - first) : kWidth;
            i64 which[kWidth];
            for (int l = 0; l < kWidth; ++l) which[l] = first + l;
            march::Ray<Lanes> ray;
            vfloat k = rays.enter<Cone>(grid, which, count, ray);
            vfloat total{}, from{}, to{}, next;
            vint filled;
            for (;;) {
                const vint active = march::visit<Lanes, Cone>(grid, lanes, ray, k, next, filled);
                if (!any(active)) break;
                const vint found = active & (filled != 0);
                from = found ? (total > 0.0f ? from : k) : from;
                total = found ? total + (next - k) : total; // whole numbers below 2^24: exact
                to = found ? next : to;
                k = active ? next : k;
            }
            for (int l = 0; l < count; ++l) {
                counts[first + l] = i64(total[l]);
                spans[first + l] = from[l];
                spans[n + first + l] = to[l];
            }
        }
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
        i64 hits[kChunk + kWidth];
        int n_hits = 0;
        for (i64 r = chunk * kChunk; r < end; ++r) {
            const i64 start = packed_info[2 * r], size = packed_info[2 * r + 1];
            for (i64 s = start; s < start + size; ++s) ray_indices[s] = r;
            if (size > 0) hits[n_hits++] = r;
        }
        for (int first = 0; first < n_hits; first += kWidth) {
            const int count = n_hits - first < kWidth ? n_hits - first : kWidth;
            march::Ray<Lanes> ray;
            rays.enter<Cone>(grid, hits + first, count, ray);
            vfloat k, to, next;
            i64 at[kWidth], stop[kWidth];
            for (int l = 0; l < kWidth; ++l) {
                const i64 r = hits[first + (l < count ? l : count - 1)];
                k[l] = spans[r];
                to[l] = l < count ? spans[n + r] : k[l];
                at[l] = packed_info[2 * r];
                stop[l] = at[l] + packed_info[2 * r + 1];
            }
            vint filled;
            for (;;) {
                const vint active = march::visit<Lanes, Cone>(grid, lanes, ray, k, next, filled) & (k < to);
                if (!any(active)) break;
                const vint found = active & (filled != 0);
                if (any(found))
                    for (int l = 0; l < kWidth; ++l) {
                        if (!found[l]) continue;
                        const i64 room = stop[l] - at[l], run = i64(next[l] - k[l]) < room ? i64(next[l] - k[l]) : room;
                        write_run<Cone>(grid.settings, k[l], ray.jitter[l], run, room, t_starts + at[l], t_ends + at[l]);
                        at[l] += run;
                    }
                k = active ? next : k;
            }
        }
    });
}

} // namespace

void ray_march_count(const float* origins, i64 origin_stride_n, i64 origin_stride_k, const float* directions,
                     i64 direction_stride_n, i64 direction_stride_k, const float* t_min, const float* t_max,
                     const float* jitter, i64 n, const float* settings, int n_cascades, int resolution, int cone,
                     const u8* bitfield, i64* counts, float* spans, int n_threads) {
    const Rays rays{{origins, origin_stride_n, origin_stride_k},
                    {directions, direction_stride_n, direction_stride_k}, t_min, t_max, jitter};
    const march::Grid grid{settings, n_cascades, resolution};
    if (cone) count<true>(rays, n, grid, {bitfield}, counts, spans, n_threads);
    else count<false>(rays, n, grid, {bitfield}, counts, spans, n_threads);
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
