// Sorting projected Gaussians into tiles on the CPU: exact bands of blocks with the bands as lanes, a radix sort by depth,
// then a stable counting sort by tile. Threads take runs of Gaussians; nothing depends on how many there are.
#include "gaussian_tiles.h"
#include "common/scan.h"
#include "common/threads.h"
#include "gaussian_tiles.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

using tiles::kBlock;
using tiles::kTile;
constexpr i64 kChunk = 1024; // Gaussians per task
constexpr int kDigits = 1 << 11;

struct Machine {
    NEURAL_HD vfloat sqrt(vfloat v) const { return NEURAL_ISA::sqrt(v); }
    NEURAL_HD vfloat floor(vfloat v) const { return NEURAL_ISA::floor(v); }
    NEURAL_HD vfloat low(vfloat a, vfloat b) const { return min(a, b); }
    NEURAL_HD vfloat high(vfloat a, vfloat b) const { return max(a, b); }
    NEURAL_HD vfloat choose(vint mask, vfloat a, vfloat b) const { return mask ? a : b; }
};

struct Gaussians2D {
    const float* means2d;
    i64 mn, mk;
    const float* conics;
    i64 cn, ck;
    const float *opacities, *extents;
    i64 en, ek;
    i64 width, height;

    bool ellipse(i64 i, tiles::Ellipse& e) const {
        const float opacity = opacities[i];
        if (!(opacity > 0.0f)) return false;
        const float a = conics[i * cn], b = conics[i * cn + ck], c = conics[i * cn + 2 * ck];
        const float ex = extents[i * en], ey = extents[i * en + ek];
        e.x = means2d[i * mn], e.y = means2d[i * mn + mk];
        e.tilt = b / a, e.summit = b / c * ex;
        e.ey = ey, e.inverse_ey = ey > 0.0f ? 1.0f / ey : 0.0f;
        const float discriminant = 1.0f - b / a * (b / c); // tau / A = ex^2 (1 - B^2 / (A C))
        e.reach = ex * __builtin_sqrtf(discriminant > 0.0f ? discriminant : 0.0f);
        e.margin = 0.01f + 5e-4f * ex; // what the cancellation above can take away
        return true;
    }

    // Calls visit(tile, mask) for each tile that the ellipse meets, row by row.
    template <class Visit> void tiles_of(const tiles::Ellipse& e, const Visit& visit) const {
        const i64 wide = (width + kTile - 1) / kTile;
        const float top = e.y - e.ey - 1.0f, bottom = e.y + e.ey + 1.0f;
        const i64 tall = (height + kTile - 1) / kTile;
        i64 row0 = top > 0.0f ? i64(top) / kTile : 0, row1 = bottom < float(height) ? i64(bottom) / kTile : tall - 1;
        if (bottom < 0.0f || top >= float(height)) return;
        row1 = row1 < tall - 1 ? row1 : tall - 1;
        constexpr int kRows = kWidth / kBlock; // tile rows per vector of bands
        alignas(64) i32 from[kWidth], to[kWidth];
        for (i64 row = row0; row <= row1; row += kRows) {
            vfloat first, last;
            tiles::span(e, float(kTile * row) + float(kBlock) * to_float(lane_indices()), Machine{}, first, last);
            const vfloat most = splat(float(width - 1));
            first = max(first, splat(0.0f)), last = min(last, most);
            const vint empty = ~(first <= last);
            const vint f = empty ? splat(i32(0x3fffffff)) : to_int(first), l = empty ? splat(i32(-1)) : to_int(last);
            __builtin_memcpy(from, &f, sizeof(f));
            __builtin_memcpy(to, &l, sizeof(l));
            for (int k = 0; k < kRows && row + k <= row1; ++k) {
                const i32 *a = from + kBlock * k, *b = to + kBlock * k;
                i32 x0 = a[0], x1 = b[0];
                for (int r = 1; r < kBlock; ++r) x0 = a[r] < x0 ? a[r] : x0, x1 = b[r] > x1 ? b[r] : x1;
                for (i64 x = x0 / kTile; kTile * x <= x1; ++x) {
                    u32 mask = 0;
                    const i32 left = i32(kTile * x);
                    for (int r = 0; r < kBlock; ++r) {
                        const i32 p = a[r] - left, q = b[r] - left;
                        if (q < p || q < 0 || p >= kTile) continue;
                        const int c0 = p > 0 ? p / kBlock : 0, c1 = q < kTile ? q / kBlock : kBlock - 1;
                        mask |= ((2u << c1) - (1u << c0)) << (kBlock * r);
                    }
                    if (mask) visit((row + k) * wide + x, mask);
                }
            }
        }
    }
};

struct Keyed {
    u32 key, index;
};

// Increases as the depth does, also for negative ones.
inline u32 sortable(float depth) {
    u32 bits;
    __builtin_memcpy(&bits, &depth, 4);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Sorts by key, stably; the result is in `a`, `b` is scratch of the same length.
void radix_sort(Keyed*& a, Keyed*& b, i64 n) {
    i64 counts[3][kDigits] = {};
    for (i64 i = 0; i < n; ++i)
        for (int pass = 0; pass < 3; ++pass) ++counts[pass][a[i].key >> (11 * pass) & (kDigits - 1)];
    for (int pass = 0; pass < 3; ++pass) {
        i64 total = 0;
        bool single = false;
        for (int d = 0; d < kDigits; ++d) {
            const i64 here = counts[pass][d];
            single |= here == n;
            counts[pass][d] = total;
            total += here;
        }
        if (single) continue; // all keys share this digit
        for (i64 i = 0; i < n; ++i) b[counts[pass][a[i].key >> (11 * pass) & (kDigits - 1)]++] = a[i];
        Keyed* const swapped = a;
        a = b, b = swapped;
    }
}

} // namespace

i64 gaussian_tiles_count(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                         i64 c_stride_k, const float* opacities, const float* extents, i64 e_stride_n, i64 e_stride_k,
                         i64 n, i64 width, i64 height, i32* starts, int n_threads) {
    const Gaussians2D all{means2d, m_stride_n, m_stride_k, conics, c_stride_n, c_stride_k,
                          opacities, extents, e_stride_n, e_stride_k, width, height};
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 i = chunk * kChunk; i < end; ++i) {
            tiles::Ellipse e;
            i32 count = 0;
            if (all.ellipse(i, e)) all.tiles_of(e, [&](i64, u32) { ++count; });
            starts[i + 1] = count;
        }
    });
    starts[0] = 0;
    i64 total = 0;
    for (i64 i = 0; i < n; ++i) {
        total += starts[i + 1];
        if (total < 1ll << 31) starts[i + 1] = i32(total);
    }
    return total;
}

void gaussian_tiles_fill(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                         i64 c_stride_k, const float* opacities, const float* depths, const float* extents,
                         i64 e_stride_n, i64 e_stride_k, i64 n, i64 width, i64 height, const i32* starts, i64* offsets,
                         i32* gaussians, u16* masks, i32* slots, int n_threads) {
    const Gaussians2D all{means2d, m_stride_n, m_stride_k, conics, c_stride_n, c_stride_k,
                          opacities, extents, e_stride_n, e_stride_k, width, height};
    const i64 n_tiles = ((width + kTile - 1) / kTile) * ((height + kTile - 1) / kTile), n_pairs = starts[n];
    const Scratch<i32> tile_of(n_pairs + 1); // of each slot
    const Scratch<u16> mask_of(n_pairs + 1);
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 i = chunk * kChunk; i < end; ++i) {
            tiles::Ellipse e;
            i64 slot = starts[i];
            if (starts[i + 1] > slot && all.ellipse(i, e))
                all.tiles_of(e, [&](i64 tile, u32 mask) { tile_of.data[slot] = i32(tile), mask_of.data[slot++] = u16(mask); });
        }
    });
    const Scratch<Keyed> keys(2 * n + 2);
    Keyed *order = keys.data, *spare = keys.data + n + 1;
    i64 n_seen = 0;
    for (i64 i = 0; i < n; ++i)
        if (starts[i + 1] > starts[i]) order[n_seen++] = {sortable(depths[i]), u32(i)};
    radix_sort(order, spare, n_seen);
    // counts per run of sorted Gaussians and tile, turned into places
    const i64 n_runs = team_size(n_seen / kChunk + 1, n_threads), run = (n_seen + n_runs - 1) / n_runs;
    const Scratch<i64> places(n_runs * n_tiles);
    parallel_for(n_runs, n_threads, [&](i64 r) {
        i64* const counts = places.data + r * n_tiles;
        for (i64 t = 0; t < n_tiles; ++t) counts[t] = 0;
        const i64 end = n_seen < (r + 1) * run ? n_seen : (r + 1) * run;
        for (i64 i = r * run; i < end; ++i) {
            const u32 g = order[i].index;
            for (i64 slot = starts[g]; slot < starts[g + 1]; ++slot) ++counts[tile_of.data[slot]];
        }
    });
    i64 total = 0;
    for (i64 t = 0; t < n_tiles; ++t) {
        offsets[t] = total;
        for (i64 r = 0; r < n_runs; ++r) {
            const i64 here = places.data[r * n_tiles + t];
            places.data[r * n_tiles + t] = total;
            total += here;
        }
    }
    offsets[n_tiles] = total;
    parallel_for(n_runs, n_threads, [&](i64 r) {
        i64* const next = places.data + r * n_tiles;
        const i64 end = n_seen < (r + 1) * run ? n_seen : (r + 1) * run;
        for (i64 i = r * run; i < end; ++i) {
            const u32 g = order[i].index;
            for (i64 slot = starts[g]; slot < starts[g + 1]; ++slot) {
                const i64 at = next[tile_of.data[slot]]++;
                gaussians[at] = i32(g), masks[at] = mask_of.data[slot], slots[at] = i32(slot);
            }
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
