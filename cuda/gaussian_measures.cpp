// What blending says beside the image, on the CPU: each Gaussian's share of it, and each pixel's median depth.
#include "common/scan.h"
#include "gaussian_blend.h"
#include "gaussian_block.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

struct PairShare {
    float weight;
    i32 pixels;
};

// Calls visit(part, place in the batch, layer) for what reaches a block.
template <class Visit>
NEURAL_HD void run(const Batch& batch, int block, const i32* list, int n, const Centres& centres, Left& left,
                   const Visit& visit) {
    for (int part = 0; part < kParts; ++part) {
        vfloat before = load(left.now[block] + part * kWidth);
        for (int i = 0; i < n; ++i) {
            const Layer found = layer(batch.records[list[i]], centres.x[block % 4], centres.y[block / 4][part], before);
            visit(part, list[i], found);
            if (bits(found.stopped) && left.stop(block, part, found.stopped, before)) break;
        }
        store(left.now[block] + part * kWidth, before);
    }
}

} // namespace

void gaussian_contributions(const float* records, i64 n, const i64* offsets, const i32* gaussians, const i64* starts,
                            const i32* slots, i64 width, i64 height, i64* counts, float* weights, int n_threads) {
    const Lists lists{records, record_stride(0), offsets, gaussians};
    const i64 n_tiles = tile_count(width, height);
    const Scratch<PairShare> shares(offsets[n_tiles]);
    parallel_for(n_tiles, n_threads, [&](i64 index) {
        const Tile tile(lists, width, height, index);
        const Centres centres(tile);
        Left left(tile);
        for (i64 pair = tile.begin; pair < tile.end; ++pair) shares.data[slots[pair]] = {0.0f, 0};
        walk(lists, tile, left, [&](const Batch& batch, int block, const i32* list, int n) {
            run(batch, block, list, n, centres, left, [&](int, int item, const Layer& found) {
                PairShare& share = shares.data[slots[batch.first + item]];
                share.weight += lane_sum(found.weight);
                share.pixels += __builtin_popcount(bits(found.kept));
            });
        });
    });
    parallel_for((n + 1023) / 1024, n_threads, [&](i64 chunk) {
        for (i64 i = chunk * 1024; i < n && i < (chunk + 1) * 1024; ++i) {
            counts[i] = 0, weights[i] = 0.0f;
            for (i64 at = starts[i]; at < starts[i + 1]; ++at)
                counts[i] += shares.data[at].pixels, weights[i] += shares.data[at].weight;
        }
    });
}

void gaussian_median_depth(const float* records, const i64* offsets, const i32* gaussians, i64 width, i64 height,
                           float* depth, int n_threads) {
    const Lists lists{records, record_stride(1), offsets, gaussians};
    parallel_for(tile_count(width, height), n_threads, [&](i64 index) {
        const Tile tile(lists, width, height, index);
        const Centres centres(tile);
        Left left(tile);
        float found_at[kBlocks][kBlockPixels] = {};
        float reached[kBlocks][kBlockPixels]; // what reaches the next Gaussian
        for (auto& block : reached)
            for (float& pixel : block) pixel = 1.0f;
        walk(lists, tile, left, [&](const Batch& batch, int block, const i32* list, int n) {
            run(batch, block, list, n, centres, left, [&](int part, int item, const Layer& found) {
                float *at = found_at[block] + part * kWidth, *next = reached[block] + part * kWidth;
                const vfloat before = load(next), after = before - found.weight;
                const vmask crosses = both(above(before, splat(0.5f)), at_least(splat(0.5f), after));
                store(at, select(crosses, splat(batch.records[item][kGeometry]), load(at)));
                store(next, after);
            });
        });
        for (int y = 0; y < tile.rows; ++y)
            for (int x = 0; x < tile.columns; ++x)
                depth[(tile.top + y) * width + tile.left + x] = found_at[y / 4 * 4 + x / 4][y % 4 * 4 + x % 4];
    });
}

} // namespace NEURAL_ISA
} // namespace neural
