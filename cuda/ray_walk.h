// Rays on lanes: the walk through the occupancy grid that counting samples, writing them and marching in waves share.
// Whoever includes this is compiled without contraction (CMakeLists.txt), so every instruction set finds the same samples.
#pragma once
#include "common/features.h"
#include "ray_march.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace ray_walk {

constexpr i64 kChunk = 128; // rays that one walk takes

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
//   span(i, k, to): may narrow the lattice indices [k, to) that ray which[i] is marched over
//   begin(l, i), end(l, i): ray which[i] enters and leaves lane l
//   claim(lanes, k, next, jitter): in these lanes, [k, next) are samples; gives the lanes whose ray is to end here
template <bool Cone, class Span, class Begin, class Claim, class End>
NEURAL_HD void walk(const Rays& rays, const i64* which, int n, const march::Grid& grid, const Lanes& lanes,
                    const Span& span, const Begin& begin, const Claim& claim, const End& end) {
    march::Ray<Lanes> waiting[kChunk / kWidth], ray{};
    vfloat entries[kChunk / kWidth];
    for (int j = 0; j < n; j += kWidth)
        entries[j / kWidth] = rays.enter<Cone>(grid, which + j, n - j < kWidth ? n - j : kWidth, waiting[j / kWidth]);

    vint number, alive{};
    for (int l = 0; l < kWidth; ++l) number[l] = l;
    int held[kWidth];
    vfloat k{}, to{}, next;
    int taken = 0;
    auto refill = [&](int l) {
        const vint here = number == l;
        alive = here ? vint{} : alive;
        if (taken == n) return;
        const int group = taken / kWidth, from = taken % kWidth;
        float first = entries[group][from], last = march::kMaxIndex;
        held[l] = taken++;
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
        const vint enough = claim(active & (filled != 0), k, next, ray.jitter);
        k = active ? next : k;
        const vint done = alive & (~active | enough);
        if (!any(done)) continue;
        for (int l = 0; l < kWidth; ++l) {
            if (!done[l]) continue;
            end(l, held[l]);
            refill(l);
        }
    }
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

} // namespace ray_walk
} // namespace NEURAL_ISA
} // namespace neural
