// Tiles of projected Gaussians on the GPU: counted, then written with what they are sorted by. Arrays as in
// gaussian_tiles.h; a thread per Gaussian. The sort between is torch's.
#include "gaussian_tiles.cuh"

using namespace neural;

struct Source {
    const float* means2d;
    i64 m_n, m_k;
    const float* conics;
    i64 c_n, c_k;
    const float* opacities;
    const float* extents;
    i64 e_n, e_k;
    i64 width, height;
};

// Calls visit(tile) for the tiles that Gaussian i reaches, in ascending order.
template <class Visit> __device__ __forceinline__ void for_tiles(const Source& from, i64 i, const Visit& visit) {
    const float x = from.means2d[i * from.m_n], y = from.means2d[i * from.m_n + from.m_k];
    const float extent_x = from.extents[i * from.e_n], extent_y = from.extents[i * from.e_n + from.e_k];
    const float* conic = from.conics + i * from.c_n;
    const float opacity = from.opacities[i], width = float(from.width), height = float(from.height);
    if (!(opacity > 0.0f && extent_x > 0.0f && extent_y > 0.0f)) return;
    const auto down = [](float v) { return floorf(v); };
    float left, right, top, bottom;
    tiling::span(x, extent_x, width, down, left, right);
    tiling::span(y, extent_y, height, down, top, bottom);
    const auto e = tiling::make(x, y, conic[0], conic[from.c_k], conic[2 * from.c_k], log2f(opacity));
    const float tile = float(ellipse::kTile), first = floorf(left / tile) * tile;
    const i64 across = (from.width + ellipse::kTile - 1) / ellipse::kTile;
    for (float row = floorf(top / tile) * tile; row <= bottom; row += tile)
        for (float column = first; column <= right; column += tile)
            if (tiling::greatest(e, column, row, width, height) >= tiling::kReached)
                visit(i64(row / tile) * across + i64(column / tile));
}

extern "C" __global__ void gaussian_tiles_count(const float* means2d, i64 m_n, i64 m_k, const float* conics, i64 c_n,
                                                i64 c_k, const float* opacities, const float* extents, i64 e_n,
                                                i64 e_k, i64 n, i64 width, i64 height, i64* counts) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    i64 count = 0;
    for_tiles({means2d, m_n, m_k, conics, c_n, c_k, opacities, extents, e_n, e_k, width, height}, i,
              [&](i64) { ++count; });
    counts[i] = count;
}

// keys i64 [P]: tile, then depth; owners i32 [P].
extern "C" __global__ void gaussian_tiles_keys(const float* means2d, i64 m_n, i64 m_k, const float* conics, i64 c_n,
                                               i64 c_k, const float* opacities, const float* depths,
                                               const float* extents, i64 e_n, i64 e_k, i64 n, i64 width, i64 height,
                                               const i64* starts, i64* keys, i32* owners) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const u32 bits = FloatBits{depths[i] + 0.0f}.bits; // -0 as 0
    const u32 depth = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
    i64 slot = starts[i];
    for_tiles({means2d, m_n, m_k, conics, c_n, c_k, opacities, extents, e_n, e_k, width, height}, i, [&](i64 tile) {
        keys[slot] = tile << 32 | i64(depth);
        owners[slot] = i32(i);
        ++slot;
    });
}
