// What blending kernels keep of a tile's pixels, and the slots in which backward leaves what a pair adds to its
// Gaussian: slots of a Gaussian lie together and are added in the order of its tiles.
#pragma once
#include "gaussian_block.h"

namespace neural {
namespace NEURAL_ISA {

// Rows of four pixels between a block's lanes and an image.
template <class Move> NEURAL_HD void for_rows(const Tile& tile, i64 width, const Move& move) { // (block, pixel, at, n)
    for (int block = 0; block < kBlocks; ++block) {
        const int x = block % 4 * 4, n = tile.columns - x < 4 ? tile.columns - x : 4;
        for (int row = 0; row < 4 && n > 0; ++row) {
            const int y = block / 4 * 4 + row;
            if (y < tile.rows) move(block, row * 4, (tile.top + y) * width + tile.left + x, n);
        }
    }
}
NEURAL_HD void put(const float (*from)[kBlockPixels], const Tile& tile, i64 width, float* image) {
    for_rows(tile, width, [&](int block, int pixel, i64 at, int n) {
        if (n == 4) __builtin_memcpy(image + at, from[block] + pixel, 16);
        else for (int i = 0; i < n; ++i) image[at + i] = from[block][pixel + i];
    });
}
NEURAL_HD void take(const float* image, const Tile& tile, i64 width, float (*to)[kBlockPixels]) { // 0 outside
    for (int block = 0; block < kBlocks; ++block)
        for (int pixel = 0; pixel < kBlockPixels; ++pixel) to[block][pixel] = 0.0f;
    if (!image) return;
    for_rows(tile, width, [&](int block, int pixel, i64 at, int n) {
        if (n == 4) __builtin_memcpy(to[block] + pixel, image + at, 16);
        else for (int i = 0; i < n; ++i) to[block][pixel + i] = image[at + i];
    });
}

typedef float Plane[kBlocks][kBlockPixels]; // one quantity of a tile's pixels

// A slot of M quantities and C features (0: any number, kept behind the others), each quantity's place by sum_lane().
template <int M, int C> struct Slot {
    static constexpr int quantities = M + C;                         // summed in registers
    static constexpr int parts = (quantities + kWidth - 1) / kWidth; // vectors of those
    static i64 vectors(i64 n_channels) { return C > 0 ? parts : parts + (n_channels + kWidth - 1) / kWidth; }

    // Stores the sums of the lanes of all quantities.
    NEURAL_HD static void store_sums(vfloat (&q)[parts * kWidth], float* slot) {
        NEURAL_UNROLL for (int j = 0; j < parts; ++j) {
            constexpr int last = quantities - (parts - 1) * kWidth;
            if (j + 1 < parts) lane_sums<kWidth>(q + j * kWidth);
            else lane_sums<last>(q + j * kWidth);
            store(slot + j * kWidth, q[j * kWidth]);
        }
    }
};

// The gradients to features, from the weights of a pair's pixels and the gradients there, over the blocks in `shown`.
inline void store_feature_sums(const Plane& weights, const Plane* grad, i64 channels, u32 shown, float* slot) {
    for (i64 first = 0; first < channels; first += kWidth) {
        vfloat f[kWidth]{};
        for (int k = 0; k < kWidth && first + k < channels; ++k)
            for (u32 rest = shown; rest; rest &= rest - 1) {
                const int block = __builtin_ctz(rest);
                for (int at = 0; at < kBlockPixels; at += kWidth)
                    f[k] += load(weights[block] + at) * load(grad[first + k][block] + at);
            }
        lane_sums<kWidth>(f);
        store(slot + first, f[0]);
    }
}

struct Slots { // of all pairs
    const float* sums;
    const i64* starts;
    i64 n_vectors;

    // Adds vector j of the slots of `count` Gaussians from n on; then rows[sum_lane(i)] is quantity i of it.
    NEURAL_HD void add(i64 n, int count, i64 j, vfloat (&rows)[kWidth]) const {
        for (int i = 0; i < kWidth; ++i) {
            vfloat total{};
            if (i < count)
                for (i64 at = starts[n + i]; at < starts[n + i + 1]; ++at)
                    total += load(sums + (at * n_vectors + j) * kWidth);
            rows[i] = total;
        }
        transpose(rows);
    }
    // Writes the gradients to features, feature-major [C, N], from the vectors that begin at `parts`.
    void add_features(i64 n, int count, int parts, i64 n_channels, i64 n_gaussians, float* features) const {
        for (i64 first = 0; first < n_channels; first += kWidth) {
            vfloat rows[kWidth];
            add(n, count, parts + first / kWidth, rows);
            for (int k = 0; k < kWidth && first + k < n_channels; ++k)
                store(features + (first + k) * n_gaussians + n, rows[sum_lane(k)], count);
        }
    }
};

} // namespace NEURAL_ISA
} // namespace neural
