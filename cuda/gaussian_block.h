// How CPU kernels walk a tile's Gaussians: near to far, each over the blocks of 4x4 pixels that its ellipse reaches.
// A block is kParts vectors of kWidth pixels; its transmittances stay in the cache between the Gaussians.
#pragma once
#include "common/mask.h"
#include "common/threads.h"
#include "gaussian_blend.cuh"

namespace neural {
namespace NEURAL_ISA {

constexpr int kTile = ellipse::kTile, kBlocks = 16, kBlockPixels = 16, kParts = kBlockPixels / kWidth;
constexpr int kGeometry = 8; // floats of a record before the features
constexpr i64 kAhead = 10;   // records that are asked for before they are read

// Where the lanes of each block's parts, and the blocks themselves as lanes, lie in a tile; pixel centres.
struct Grid {
    alignas(64) float x[4][kWidth];
    alignas(64) float y[4][kParts][kWidth];
    alignas(64) float block_x[kBlocks], block_y[kBlocks]; // of the first pixel
    constexpr Grid() : x(), y(), block_x(), block_y() {
        for (int block = 0; block < 4; ++block)
            for (int lane = 0; lane < kBlockPixels; ++lane) {
                x[block][lane % kWidth] = 4.0f * float(block) + float(lane % 4) + 0.5f;
                y[block][lane / kWidth][lane % kWidth] = 4.0f * float(block) + float(lane / 4) + 0.5f;
            }
        for (int block = 0; block < kBlocks; ++block) {
            block_x[block] = 4.0f * float(block % 4) + 0.5f;
            block_y[block] = 4.0f * float(block / 4) + 0.5f;
        }
    }
};
constexpr Grid kGrid{};

NEURAL_HD i64 record_stride(i64 n_channels) { return (kGeometry + n_channels + 15) / 16 * 16; } // whole cache lines

struct Lists { // the Gaussians of every tile
    const float* records;
    i64 stride;
    const i64* offsets;
    const i32* gaussians;
};

struct Tile {
    i64 left, top, begin, end; // pixels; pairs
    int columns, rows;         // inside the image
    Tile(const Lists& lists, i64 width, i64 height, i64 index) {
        const i64 across = (width + kTile - 1) / kTile;
        left = index % across * kTile, top = index / across * kTile;
        begin = lists.offsets[index], end = lists.offsets[index + 1];
        columns = int(width - left < kTile ? width - left : kTile);
        rows = int(height - top < kTile ? height - top : kTile);
    }
};

// A Gaussian in every lane, its centre relative to the tile.
struct Splat {
    vfloat x, y, a, b, c, l;
    const float* record;
    NEURAL_HD Splat(const float* from, const Tile& tile) : record(from) {
        x = splat(from[0] - float(tile.left)), y = splat(from[1] - float(tile.top));
        a = splat(from[2]), b = splat(from[3]), c = splat(from[4]), l = splat(from[5]);
    }
    // Bit b: the ellipse reaches block b.
    NEURAL_HD u32 blocks() const {
        u32 found = 0;
        NEURAL_UNROLL for (int i = 0; i < kBlocks; i += kWidth) {
            const vfloat left = load(kGrid.block_x + i) - x, top = load(kGrid.block_y + i) - y;
            const vfloat most = ellipse::greatest(a, b, c, l, splat(record[6]), splat(record[7]), left, left + 3.0f,
                                                  top, top + 3.0f);
            found |= bits(at_least(most, splat(ellipse::kMinExponent - ellipse::kSlack))) << i;
        }
        return found;
    }
};

// What one Gaussian does in one part of a block.
struct Layer {
    vfloat dx, dy, alpha, weight; // alpha before the clamp; weight 0 where not blended
    vmask kept, stopped;          // stopped: the pixels that end before this Gaussian
};
// `before` is what reaches the Gaussian, 0 in pixels that have ended; it becomes what reaches the next.
NEURAL_HD Layer layer(const Splat& s, int block, int part, vfloat& before) {
    const vfloat dx = load(kGrid.x[block % 4]) - s.x, dy = load(kGrid.y[block / 4][part]) - s.y;
    const vfloat e = ellipse::exponent(s.a, s.b, s.c, s.l, dx, dy);
    const vfloat alpha = exp2(e), weight = before * min(alpha, splat(blending::kMaxAlpha)), after = before - weight;
    const vmask shown = both(both(at_least(alpha, splat(blending::kMinAlpha)), at_least(s.l, e)),
                             above(before, splat(0.0f)));
    const vmask kept = both(shown, at_least(after, splat(blending::kMinLeft)));
    before = select(kept, after, before);
    return {dx, dy, alpha, or_zero(kept, weight), kept, without(shown, kept)};
}

// What is left in each pixel of a tile.
struct Left {
    alignas(64) float now[kBlocks][kBlockPixels];   // 0 where the pixel has ended
    alignas(64) float ended[kBlocks][kBlockPixels]; // what was left there
    u32 open;                                       // blocks with a pixel that has not

    explicit Left(const Tile& tile) : open(0) {
        for (int block = 0; block < kBlocks; ++block)
            for (int pixel = 0; pixel < kBlockPixels; ++pixel) {
                const bool inside = block % 4 * 4 + pixel % 4 < tile.columns && block / 4 * 4 + pixel / 4 < tile.rows;
                now[block][pixel] = inside ? 1.0f : 0.0f;
                ended[block][pixel] = 1.0f;
                open |= (inside ? 1u : 0u) << block;
            }
    }
    void stop(int block, int part, vmask where) { // seldom: once per pixel at most
        float *from = now[block] + part * kWidth, *to = ended[block] + part * kWidth;
        const vfloat left = load(from);
        store(to, select(where, left, load(to)));
        store(from, select(where, splat(0.0f), left));
        for (int pixel = 0; pixel < kBlockPixels; ++pixel)
            if (now[block][pixel] > 0.0f) return;
        open &= ~(1u << block);
    }
    NEURAL_HD vfloat last(int block, int part) const {
        const vfloat left = load(now[block] + part * kWidth);
        return select(above(left, splat(0.0f)), left, load(ended[block] + part * kWidth));
    }
};

// Walks the tile's pairs until every pixel has ended: visit(splat, block, part, layer) for each part of each block that
// may show a Gaussian, then blended(pair, blocks) with the blocks that do. Pairs behind the end get none.
template <class Visit, class Blended>
NEURAL_HD void walk(const Lists& lists, const Tile& tile, Left& left, const Visit& visit, const Blended& blended) {
    i64 pair = tile.begin;
    for (; pair < tile.end && left.open; ++pair) {
        if (pair + kAhead < tile.end) __builtin_prefetch(lists.records + lists.gaussians[pair + kAhead] * lists.stride);
        const Splat s(lists.records + lists.gaussians[pair] * lists.stride, tile);
        u32 shown = 0;
        for (u32 rest = s.blocks() & left.open; rest; rest &= rest - 1) {
            const int block = __builtin_ctz(rest);
            for (int part = 0; part < kParts; ++part) {
                float* now = left.now[block] + part * kWidth;
                vfloat before = load(now);
                const Layer found = layer(s, block, part, before);
                store(now, before);
                shown |= u32(bits(found.kept) != 0) << block;
                visit(s, block, part, found);
                if (bits(found.stopped)) left.stop(block, part, found.stopped);
            }
        }
        blended(pair, shown);
    }
    for (; pair < tile.end; ++pair) blended(pair, 0);
}

} // namespace NEURAL_ISA
} // namespace neural
