// What kernels that walk the Gaussians of a tile share: the Gaussians of a tile in one row each, lists of those that
// reach each 4x4 block, and the walk of one vector of pixels along such a list.
#pragma once
#include "../gaussian_blend.cuh"
#include "scan.h"
#include "threads.h"

namespace neural {
namespace NEURAL_ISA {

constexpr int kTile = 16, kBlocks = 16;
constexpr int kPieces = 16 / kWidth;   // vectors of pixels in a block
constexpr int kRow = 12;               // floats of a staged Gaussian: Splat (6), features (4), conic's opacity again, spare
constexpr int kFeatures = 6;           // where its features begin

struct PixelMath {
    NEURAL_HD vfloat exp2(vfloat v) const { return NEURAL_ISA::exp2(v); }
    NEURAL_HD vfloat low(vfloat a, float b) const { return a < b ? a : splat(b); }
};

struct Splats { // N projected Gaussians, wherever their buffers are
    const float* means2d;
    i64 mn, mk;
    const float* conics;
    i64 cn, ck;
    const float *opacities, *features;
    i64 fn, fk;

    // Row g of `rows` becomes Gaussian g.
    NEURAL_HD void row(i64 g, int n_features, float* out) const {
        const blend::Splat s = blend::splat(means2d[g * mn], means2d[g * mn + mk], conics[g * cn], conics[g * cn + ck],
                                            conics[g * cn + 2 * ck], opacities[g]);
        __builtin_memcpy(out, &s, sizeof(s));
        for (int k = 0; k < n_features; ++k) out[kFeatures + k] = features[g * fn + k * fk];
    }
};

// Rows of all Gaussians that are seen, once, so that a tile reads one or two cache lines for each of its own.
inline void pack(const Splats& splats, int n_features, i64 n, float* rows, int n_threads) {
    constexpr i64 kChunk = 4096;
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 g = chunk * kChunk; g < end; ++g)
            if (splats.opacities[g] > 0.0f) splats.row(g, n_features, rows + g * kRow);
    });
}

struct TilePlace { // of a tile in the image
    i64 x, y, width, height;

    TilePlace(i64 tile, i64 w, i64 h) : width(w), height(h) {
        const i64 wide = (w + kTile - 1) / kTile;
        x = tile % wide * kTile, y = tile / wide * kTile;
    }
    float middle_x() const { return float(x + kTile / 2); }
    float middle_y() const { return float(y + kTile / 2); }
    // Whether any pixel of a block is in the image.
    bool has(int block) const { return x + block % 4 * 4 < width && y + block / 4 * 4 < height; }
};

// Pixel centres of a piece of a block, from the middle of the tile.
NEURAL_HD vfloat piece_x(int block) { return to_float(lane_indices() & 3) + (float(block % 4 * 4 - kTile / 2) + 0.5f); }
NEURAL_HD vfloat piece_y(int block, int piece) {
    return to_float(lane_indices() >> 2) + (float(block / 4 * 4 + piece * (kWidth / 4) - kTile / 2) + 0.5f);
}

// Rows of the pairs [first, first + n) of a tile, centres from the middle of the tile.
NEURAL_HD void stage(const float* rows, const i32* gaussians, i64 n, const TilePlace& place, float* staged) {
    const float x = place.middle_x(), y = place.middle_y();
    for (i64 i = 0; i < n; ++i) {
        if (i + 8 < n) __builtin_prefetch(rows + i64(gaussians[i + 8]) * kRow);
        __builtin_memcpy(staged + i * kRow, rows + i64(gaussians[i]) * kRow, kRow * sizeof(float));
        staged[i * kRow] -= x;
        staged[i * kRow + 1] -= y;
    }
}

// For each block the staged Gaussians that reach it, in order. Lists have room for `room` entries each.
template <class Index> NEURAL_HD void list_blocks(const u16* masks, i64 n, i64 room, Index* lists, i32* lengths) {
    for (int b = 0; b < kBlocks; ++b) lengths[b] = 0;
    for (i64 i = 0; i < n; ++i)
        for (u32 left = masks[i]; left; left &= left - 1) {
            const int b = __builtin_ctz(left);
            lists[b * room + lengths[b]++] = Index(i);
        }
}

// Transmittance of a vector of pixels while Gaussians are added.
struct Light {
    vfloat passing; // T in front of the next Gaussian; 0 once the pixel has stopped
    vfloat last;    // T behind the last one added

    static Light full() { return {splat(1.0f), splat(1.0f)}; }
    NEURAL_HD bool any_left() const { return any(passing > 0.0f); }
    // Adds a Gaussian; gives its alpha where it counts, 0 elsewhere, and T in front of it.
    NEURAL_HD vfloat add(vfloat alpha, vfloat& before) {
        before = passing;
        const vint kept = alpha >= blend::kMinAlpha;
        const vfloat next = passing - passing * alpha;
        const vint added = kept & (next >= blend::kMinTransmittance);
        last = added ? next : last;
        passing = kept ? (added ? next : splat(0.0f)) : passing;
        return added ? alpha : splat(0.0f);
    }
};

NEURAL_HD vfloat alpha_at(const float* row, vfloat x, vfloat y) {
    blend::Splat s;
    __builtin_memcpy(&s, row, sizeof(s));
    return blend::alpha(s, x, y, PixelMath{});
}

// Pixels of a piece, to and from a plane of the image with the given strides; pixels outside are left alone, or 0.
NEURAL_HD void store_piece(float* plane, i64 stride_y, i64 stride_x, const TilePlace& place, int block, int piece, vfloat v) {
    for (int r = 0; r < kWidth / 4; ++r) {
        const i64 y = place.y + block / 4 * 4 + piece * (kWidth / 4) + r, x = place.x + block % 4 * 4;
        if (y >= place.height) return;
        for (int c = 0; c < 4 && x + c < place.width; ++c) plane[y * stride_y + (x + c) * stride_x] = v[4 * r + c];
    }
}
NEURAL_HD vfloat load_piece(const float* plane, i64 stride_y, i64 stride_x, const TilePlace& place, int block, int piece) {
    vfloat v{};
    for (int r = 0; r < kWidth / 4; ++r) {
        const i64 y = place.y + block / 4 * 4 + piece * (kWidth / 4) + r, x = place.x + block % 4 * 4;
        if (y >= place.height) return v;
        for (int c = 0; c < 4 && x + c < place.width; ++c) v[4 * r + c] = plane[y * stride_y + (x + c) * stride_x];
    }
    return v;
}

// Calls visit(Constant<C>) for C = 1 .. 4 channels.
template <class Visit> void with_channels(i64 n_channels, const Visit& visit) {
    switch (n_channels) {
    case 1: return visit(Constant<1>{});
    case 2: return visit(Constant<2>{});
    case 3: return visit(Constant<3>{});
    default: return visit(Constant<4>{});
    }
}

} // namespace NEURAL_ISA
} // namespace neural
