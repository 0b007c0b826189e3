// Tile lists on the CPU. Lanes are Gaussians for the test of tiles; then a radix sort by depth and a stable counting
// sort to tiles. Both sorts are stable, so their results do not depend on how many chunks the threads get.
#include "gaussian_tiles.h"
#include "common/features.h"
#include "common/mask.h"
#include "common/threads.h"
#include "gaussian_tiles.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 1024; // Gaussians of a task
constexpr float kTile = float(ellipse::kTile);

struct Source {
    Rows means2d, conics, extents;
    const float* opacities;
    i64 n;
    float width, height;
    i64 across; // tiles
};

// Calls visit(lane, tile) for the tiles of `count` Gaussians from n on; a Gaussian's tiles come in ascending order.
template <class Visit> NEURAL_HD void for_tiles(const Source& from, i64 n, int count, const Visit& visit) {
    const vfloat width = splat(from.width), height = splat(from.height);
    const vfloat x = from.means2d.load_lanes(n, 0, count), y = from.means2d.load_lanes(n, 1, count);
    const vfloat extent_x = from.extents.load_lanes(n, 0, count), extent_y = from.extents.load_lanes(n, 1, count);
    const vfloat opacity = load(from.opacities + n, count), zero = splat(0.0f);
    const auto down = [](vfloat v) { return floor(v); };
    vfloat left, right, top, bottom;
    tiling::span(x, extent_x, width, down, left, right);
    tiling::span(y, extent_y, height, down, top, bottom);
    const vmask sized = both(both(above(extent_x, zero), above(extent_y, zero)), above(opacity, zero));
    vmask rest = both(sized, both(at_least(right, left), at_least(bottom, top)));
    if (!bits(rest)) return;
    const auto e = tiling::make(x, y, from.conics.load_lanes(n, 0, count), from.conics.load_lanes(n, 1, count),
                                from.conics.load_lanes(n, 2, count), ellipse::kLog2E * log(opacity));
    const auto to_tile = [](vfloat pixel) { return floor(pixel * (1.0f / kTile)) * kTile; };
    const vfloat first = to_tile(left);
    vfloat column = first, row = to_tile(top);
    while (bits(rest)) {
        const vmask hit = both(rest, at_least(tiling::greatest(e, column, row, width, height), splat(tiling::kReached)));
        if (u32 lanes = bits(hit)) {
            const vint tile = to_int(row * (1.0f / kTile)) * i32(from.across) + to_int(column * (1.0f / kTile));
            for (; lanes; lanes &= lanes - 1) visit(__builtin_ctz(lanes), tile[__builtin_ctz(lanes)]);
        }
        column += kTile;
        const vmask over = above(column, right);
        column = select(over, first, column);
        row = select(over, row + kTile, row);
        rest = both(rest, at_least(bottom, row));
    }
}

// Calls visit(n, count) for every vector of Gaussians.
template <class Visit> void for_vectors(i64 n, int n_threads, const Visit& visit) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = (chunk + 1) * kChunk < n ? (chunk + 1) * kChunk : n;
        for (i64 i = chunk * kChunk; i < end; i += kWidth) visit(i, end - i < kWidth ? int(end - i) : kWidth);
    });
}

// Ranges that the threads share a sort in.
struct Chunks {
    i64 n, count;
    Chunks(i64 of, int n_threads) : n(of), count(of < 8192 ? 1 : team_size(of, n_threads)) {}
    i64 begin(i64 chunk) const { return n * chunk / count; }
};

// Turns counts [chunk][key] into the places where each chunk begins to write each key; returns the total.
u32 places(u32* counts, i64 chunks, i64 n_keys) {
    u32 total = 0;
    for (i64 key = 0; key < n_keys; ++key)
        for (i64 chunk = 0; chunk < chunks; ++chunk) {
            const u32 here = counts[chunk * n_keys + key];
            counts[chunk * n_keys + key] = total;
            total += here;
        }
    return total;
}

struct Keyed {
    u32 key, index;
};
// Sorts stably by key; returns where the result is, `a` or `b`.
const Keyed* radix_sort(Keyed* a, Keyed* b, i64 n, int n_threads) {
    const Chunks chunks(n, n_threads);
    const int bits = n < 4096 ? 8 : 11; // of a pass: few keys would spend their time on empty digits
    const u32 n_digits = 1u << bits, mask = n_digits - 1;
    const Scratch<u32> counts(chunks.count * n_digits);
    for (int shift = 0; shift < 32; shift += bits) {
        parallel_for(chunks.count, n_threads, [&](i64 chunk) {
            u32* mine = counts.data + chunk * n_digits;
            for (u32 digit = 0; digit < n_digits; ++digit) mine[digit] = 0;
            for (i64 i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) ++mine[a[i].key >> shift & mask];
        });
        places(counts.data, chunks.count, n_digits);
        parallel_for(chunks.count, n_threads, [&](i64 chunk) {
            u32* mine = counts.data + chunk * n_digits;
            for (i64 i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i)
                b[mine[a[i].key >> shift & mask]++] = a[i];
        });
        Keyed* other = a;
        a = b, b = other;
    }
    return a;
}

u32 depth_key(float depth) { // ascends with depth, -0 as 0
    const u32 bits = FloatBits{depth + 0.0f}.bits;
    return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

} // namespace

i64 gaussian_tiles_count(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                         i64 c_stride_k, const float* opacities, const float* extents, i64 e_stride_n,
                         i64 e_stride_k, i64 n, i64 width, i64 height, i64* starts, int n_threads) {
    const Source from{{means2d, m_stride_n, m_stride_k}, {conics, c_stride_n, c_stride_k},
                      {extents, e_stride_n, e_stride_k}, opacities, n, float(width), float(height),
                      (width + ellipse::kTile - 1) / ellipse::kTile};
    for_vectors(n, n_threads, [&](i64 i, int count) {
        i64 found[kWidth] = {};
        for_tiles(from, i, count, [&](int lane, i32) { ++found[lane]; });
        for (int lane = 0; lane < count; ++lane) starts[i + lane + 1] = found[lane];
    });
    starts[0] = 0;
    for (i64 i = 0; i < n; ++i) starts[i + 1] += starts[i];
    return starts[n];
}

void gaussian_tiles_fill(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                         i64 c_stride_k, const float* opacities, const float* depths, const float* extents,
                         i64 e_stride_n, i64 e_stride_k, i64 n, i64 width, i64 height, const i64* starts,
                         i64* offsets, i32* gaussians, i32* slots, int n_threads) {
    const i64 across = (width + ellipse::kTile - 1) / ellipse::kTile;
    const i64 n_tiles = across * ((height + ellipse::kTile - 1) / ellipse::kTile);
    const Source from{{means2d, m_stride_n, m_stride_k}, {conics, c_stride_n, c_stride_k},
                      {extents, e_stride_n, e_stride_k}, opacities, n, float(width), float(height), across};
    const Scratch<i32> tiles(starts[n]); // of each slot
    for_vectors(n, n_threads, [&](i64 i, int count) {
        i64 next[kWidth];
        for (int lane = 0; lane < count; ++lane) next[lane] = starts[i + lane];
        for_tiles(from, i, count, [&](int lane, i32 tile) { tiles.data[next[lane]++] = tile; });
    });
    const Scratch<Keyed> pairs(2 * n);
    i64 shown = 0;
    for (i64 i = 0; i < n; ++i) {
        pairs.data[shown] = {depth_key(depths[i]), u32(i)};
        shown += starts[i + 1] > starts[i];
    }
    const Keyed* sorted = radix_sort(pairs.data, pairs.data + n, shown, n_threads);
    const Chunks chunks(shown, n_threads);
    const Scratch<u32> counts(chunks.count * n_tiles);
    const auto for_pairs = [&](i64 chunk, const auto& visit) { // visit(Gaussian, slot, tile), near to far
        for (i64 i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
            const u32 gaussian = sorted[i].index;
            for (i64 slot = starts[gaussian]; slot < starts[gaussian + 1]; ++slot)
                visit(gaussian, slot, tiles.data[slot]);
        }
    };
    parallel_for(chunks.count, n_threads, [&](i64 chunk) {
        u32* mine = counts.data + chunk * n_tiles;
        for (i64 tile = 0; tile < n_tiles; ++tile) mine[tile] = 0;
        for_pairs(chunk, [&](u32, i64, i32 tile) { ++mine[tile]; });
    });
    offsets[n_tiles] = places(counts.data, chunks.count, n_tiles);
    for (i64 tile = 0; tile < n_tiles; ++tile) offsets[tile] = counts.data[tile]; // where the first chunk begins
    parallel_for(chunks.count, n_threads, [&](i64 chunk) {
        u32* mine = counts.data + chunk * n_tiles;
        for_pairs(chunk, [&](u32 gaussian, i64 slot, i32 tile) {
            const u32 place = mine[tile]++;
            gaussians[place] = i32(gaussian);
            slots[place] = i32(slot);
        });
    });
}

} // namespace NEURAL_ISA
} // namespace neural
