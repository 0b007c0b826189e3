// How GPU kernels walk tiles and buckets, pairs as in gaussian_blend.h. What they walk is a `Shape`:
//   kFloats: how many floats at the front of a record say where it is and how opaque
//   Found: a Share, and what else is known of a pair in a pixel
//   meet(those floats, x, y, left): what is found at the pixel centre (x, y); left as in `share`
// walk_tile: a block of 16x16 threads, one a pixel, goes through the tile's pairs near to far.
// walk_bucket: a warp, a lane per pair of 32, goes through the tile's pixels: lane i is at pixel `step - i`, so what is
// left in a pixel passes from lane to lane, and each pair's sums stay in its lane.
// Source: the bucket walk is that of Mallick et al. 2024 (Taming 3DGS), arXiv:2406.15643, sec. 4.4.
#pragma once
#include "gaussian_blend.cuh"

namespace neural {
namespace walking {

constexpr int kTile = ellipse::kTile, kPixels = kTile * kTile, kBucket = 32;
constexpr unsigned kAll = 0xffffffffu;

struct Lists {
    const float* records;
    i64 stride;
    const i64* offsets;
    const i32* gaussians;
};

struct Share {
    float alpha, weight; // alpha before the clamp; weight 0 where not blended
    bool kept, stopped;  // stopped: the pixel ends before this pair
};
// From the exponent e and its greatest value l, both to base 2. `left` is what reaches the pair, and becomes what
// reaches the next: 0 where the pixel ends.
__device__ __forceinline__ Share share(float e, float l, float& left) {
    const float alpha = exp2f(e), weight = left * fminf(alpha, blending::kMaxAlpha), after = left - weight;
    const bool shown = e <= l && alpha >= blending::kMinAlpha && left > 0.0f;
    const bool kept = shown && after >= blending::kMinLeft;
    if (shown) left = kept ? after : 0.0f;
    return {alpha, kept ? weight : 0.0f, kept, shown && !kept};
}

// A projected Gaussian, with records as in gaussian_blend.h.
struct Gaussian {
    static constexpr int kFloats = 6, kFeatures = 8;
    struct Found : Share {
        float dx, dy;
    };
    static __device__ __forceinline__ Found meet(const float* g, float x, float y, float& left) {
        const float dx = x - g[0], dy = y - g[1], l = g[5];
        return {share(ellipse::exponent(g[2], g[3], g[4], l, dx, dy), l, left), dx, dy};
    }
};

// Where a tile begins. A division: once per thread, not per pixel.
struct Corner {
    int x, y;
    __device__ __forceinline__ Corner(i64 tile, i64 width) {
        const i64 across = (width + kTile - 1) / kTile;
        x = int(tile % across) * kTile, y = int(tile / across) * kTile;
    }
};
// A pixel of a tile; place: 0 to 255, row by row.
struct Pixel {
    int x, y;
    i64 at; // in the image
    bool inside;
    __device__ __forceinline__ Pixel(const Corner& corner, int place, i64 width, i64 height) {
        x = corner.x + place % kTile, y = corner.y + place / kTile;
        at = i64(y) * int(width) + x;
        inside = x < int(width) && y < int(height);
    }
};

// Calls before(pair in the tile, left) for each pair until the pixel ends, and after(record, found) for those that are
// blended. Returns what is left in the pixel. Every thread of the block calls it.
template <class Shape, class Before, class After>
__device__ __forceinline__ float walk_tile(const Lists& lists, i64 tile, int thread, const Pixel& pixel,
                                           const Before& before, const After& after) {
    __shared__ float geometry[kPixels][Shape::kFloats];
    __shared__ i32 owners[kPixels];
    const i64 begin = lists.offsets[tile], end = lists.offsets[tile + 1];
    const float x = float(pixel.x) + 0.5f, y = float(pixel.y) + 0.5f;
    float left = pixel.inside ? 1.0f : 0.0f, ended = 1.0f;
    for (i64 base = begin; base < end; base += kPixels) {
        if (!__syncthreads_or(left > 0.0f)) break;
        if (base + thread < end) {
            owners[thread] = lists.gaussians[base + thread];
            for (int k = 0; k < Shape::kFloats; ++k)
                geometry[thread][k] = lists.records[owners[thread] * lists.stride + k];
        }
        __syncthreads();
        const int count = end - base < kPixels ? int(end - base) : kPixels;
        for (int i = 0; i < count && left > 0.0f; ++i) {
            before(base - begin + i, left);
            const float reached = left;
            const typename Shape::Found found = Shape::meet(geometry[i], x, y, left);
            if (found.stopped) ended = reached;
            if (found.kept) after(lists.records + owners[i] * lists.stride, found);
        }
    }
    return left > 0.0f ? left : ended;
}

// Buckets: those of tile t are firsts[t] ...; tiles [B] names each one's tile, n_tiles for none. states [B, 2, 256]:
// what is left of each pixel where the bucket begins (0: it has ended), and a number that goes with it.
struct Buckets {
    const i64* firsts;
    const i32* tiles;
    const float* states;
    i64 n_tiles;
};
struct Place { // of a lane
    i64 tile, pair;
    bool valid;
    __device__ __forceinline__ Place(const Lists& lists, const Buckets& buckets, i64 bucket, int lane) {
        tile = buckets.tiles[bucket];
        valid = false, pair = 0;
        if (tile >= buckets.n_tiles) return;
        pair = lists.offsets[tile] + (bucket - buckets.firsts[tile]) * kBucket + lane;
        valid = pair < lists.offsets[tile + 1];
    }
};
// Calls visit(pixel, geometry, found, number) for the lane's pair and each pixel it is blended into: geometry is the
// front of its record; visit may change the number.
template <class Shape, class Visit>
__device__ __forceinline__ void walk_bucket(const Buckets& buckets, i64 bucket, const Place& place, int lane,
                                            const float* record, i64 width, i64 height, const Visit& visit) {
    float geometry[Shape::kFloats] = {};
    if (place.valid)
        for (int k = 0; k < Shape::kFloats; ++k) geometry[k] = record[k];
    const Corner corner(place.tile, width);
    const float* states = buckets.states + bucket * 2 * kPixels;
    float left = 0.0f, number = 0.0f;
    for (int step = 0; step < kPixels + kBucket - 1; ++step) {
        left = __shfl_up_sync(kAll, left, 1);
        number = __shfl_up_sync(kAll, number, 1);
        if (lane == 0) {
            left = step < kPixels ? states[step] : 0.0f;
            number = step < kPixels ? states[kPixels + step] : 0.0f;
        }
        const int at = step - lane;
        if (!place.valid || at < 0 || at >= kPixels || !(left > 0.0f)) continue;
        const Pixel pixel(corner, at, width, height);
        const typename Shape::Found found = Shape::meet(geometry, float(pixel.x) + 0.5f, float(pixel.y) + 0.5f, left);
        if (found.kept) visit(pixel, geometry, found, number);
    }
}

} // namespace walking
} // namespace neural
