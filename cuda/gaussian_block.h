// How CPU kernels walk a tile's Gaussians: batches of them, near to far; per block of 4x4 pixels those that reach it.
// A block is kParts vectors of kWidth pixels.
#pragma once
#include "common/mask.h"
#include "common/threads.h"
#include "common/transpose.h"
#include "gaussian_blend.cuh"

namespace neural {
namespace NEURAL_ISA {

constexpr int kTile = ellipse::kTile, kBlocks = 16, kBlockPixels = 16, kParts = kBlockPixels / kWidth;
constexpr int kGeometry = 8; // floats of a record before the features: x, y, a, b, c, l, along, down
constexpr int kBatch = 64;   // pairs
constexpr i64 kAhead = 10;   // records that are asked for before they are read

NEURAL_HD i64 record_stride(i64 n_channels) { return (kGeometry + n_channels + 15) / 16 * 16; } // whole cache lines

struct Lists { // the Gaussians of every tile
    const float* records;
    i64 stride;
    const i64* offsets;
    const i32* gaussians;
};

NEURAL_HD i64 tile_count(i64 width, i64 height) {
    return ((width + kTile - 1) / kTile) * ((height + kTile - 1) / kTile);
}

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

// Pixel centres of a tile as lanes.
struct Centres {
    vfloat x[4], y[4][kParts];
    explicit Centres(const Tile& tile) {
        for (int i = 0; i < 4; ++i)
            for (int lane = 0; lane < kBlockPixels; ++lane) {
                x[i][lane % kWidth] = float(tile.left + 4 * i + lane % 4) + 0.5f;
                y[i][lane / kWidth][lane % kWidth] = float(tile.top + 4 * i + lane / 4) + 0.5f;
            }
    }
};

// 1 / v, v normal; relative error below 3e-7.
NEURAL_HD vfloat inverse(vfloat v) {
#if defined(__AVX512F__)
    const vfloat r = (vfloat)_mm512_rcp14_ps((__m512)v);
    return r * (2.0f - v * r);
#elif defined(__AVX2__)
    const vfloat r = (vfloat)_mm256_rcp_ps((__m256)v);
    return r * (2.0f - v * r);
#else
    return 1.0f / v;
#endif
}

// What one Gaussian does in one part of a block.
struct Share {
    vfloat alpha, weight; // alpha before the clamp; weight 0 where not blended
    vmask kept, stopped;  // stopped: the pixels that end before this Gaussian
};
// From the exponent e and its greatest value l, both to base 2. `before` is what reaches the Gaussian, 0 in pixels that
// have ended; it becomes what reaches the next.
NEURAL_HD Share share(vfloat e, vfloat l, vfloat& before) {
    const vfloat alpha = exp2(e), weight = before * ellipse::smaller(splat(blending::kMaxAlpha), alpha);
    const vfloat after = before - weight;
    const vmask shown = both(both(at_least(alpha, splat(blending::kMinAlpha)), at_least(l, e)),
                             above(before, splat(0.0f)));
    const vmask kept = both(shown, at_least(after, splat(blending::kMinLeft)));
    before = select(kept, after, before);
    return {alpha, or_zero(kept, weight), kept, without(shown, kept)};
}

struct Layer : Share {
    vfloat dx, dy;
};
NEURAL_HD Layer layer(const float* record, vfloat x, vfloat y, vfloat& before) {
    const vfloat dx = x - record[0], dy = y - record[1], l = splat(record[5]);
    const vfloat e = ellipse::exponent(splat(record[2]), splat(record[3]), splat(record[4]), l, dx, dy);
    return {share(e, l, before), dx, dy};
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
    // Ends pixels in which `rest` is left. Seldom: once per pixel at most. Returns whether the part's have all ended.
    bool stop(int block, int part, vmask where, vfloat& rest) {
        float *at = now[block] + part * kWidth, *to = ended[block] + part * kWidth;
        store(to, select(where, rest, load(to)));
        rest = select(where, splat(0.0f), rest);
        store(at, rest);
        bool any = false;
        for (int pixel = 0; pixel < kBlockPixels; ++pixel) any = any || now[block][pixel] > 0.0f;
        if (!any) open &= ~(1u << block);
        return !bits(above(rest, splat(0.0f)));
    }
    NEURAL_HD vfloat last(int block, int part) const {
        const vfloat left = load(now[block] + part * kWidth);
        return select(above(left, splat(0.0f)), left, load(ended[block] + part * kWidth));
    }
};

// Pairs [first, first + count) of a tile.
struct Batch {
    i64 first;
    int count;
    const float* records[kBatch];
    alignas(64) float geometry[kGeometry][kBatch]; // of the records; what fills the last vector up reaches nothing

    Batch(const Lists& lists, const Tile& tile, i64 from) : first(from) {
        count = int(tile.end - first < kBatch ? tile.end - first : kBatch);
        for (int i = 0; i < count; ++i) {
            records[i] = lists.records + lists.gaussians[first + i] * lists.stride;
            __builtin_prefetch(records[i]);
        }
        for (int i = 0; i < count; i += kWidth) {
            NEURAL_UNROLL for (int k = 0; k < kGeometry; k += kWidth) {
                vfloat rows[kWidth];
                for (int j = 0; j < kWidth; ++j) rows[j] = load(records[i + j < count ? i + j : i] + k);
                transpose(rows);
                for (int j = 0; j < kWidth && k + j < kGeometry; ++j) store(geometry[k + j] + i, rows[j]);
            }
        }
    }
    // Lists those that reach the 4x4 pixels from (x, y) on, near to far; returns how many.
    NEURAL_HD int reaching(float x, float y, i32* list) const {
        int n = 0;
        for (int i = 0; i < count; i += kWidth) {
            const vfloat left = x - load(geometry[0] + i), top = y - load(geometry[1] + i);
            const vfloat most = ellipse::greatest(load(geometry[2] + i), load(geometry[3] + i), load(geometry[4] + i),
                                                  load(geometry[5] + i), load(geometry[6] + i), load(geometry[7] + i),
                                                  left, left + 3.0f, top, top + 3.0f);
            u32 found = bits(at_least(most, splat(ellipse::kMinExponent - ellipse::kSlack)));
            if (count - i < kWidth) found &= (1u << (count - i)) - 1;
            n += append_lanes(found, i, list + n);
        }
        return n;
    }
};

// Walks the tile's pairs until every pixel has ended: visit(batch, block, list, n) for each block with open pixels.
template <class Visit> NEURAL_HD i64 walk(const Lists& lists, const Tile& tile, Left& left, const Visit& visit) {
    i64 pair = tile.begin;
    for (; pair < tile.end && left.open; pair += kBatch) {
        const Batch batch(lists, tile, pair);
        for (u32 rest = left.open; rest; rest &= rest - 1) {
            const int block = __builtin_ctz(rest);
            i32 list[kBatch + kWidth];
            const int n = batch.reaching(float(tile.left + block % 4 * 4) + 0.5f, float(tile.top + block / 4 * 4) + 0.5f, list);
            visit(batch, block, list, n);
        }
    }
    return pair;
}

} // namespace NEURAL_ISA
} // namespace neural
