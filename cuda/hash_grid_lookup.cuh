// Looking one point up in one level of a hash grid on a GPU, over common/entries.cuh. Specialised on INTERPOLATION besides
// what that is specialised on.
#pragma once
#include "common/entries.cuh"
#include "hash_grid.cuh"

namespace {

constexpr int kCorners = INTERPOLATION == grid::kNearest ? 1 : 1 << DIMS;
constexpr int kUnroll = kCorners <= 16 ? kCorners : 4;
typedef grid::Axis<float, u32> Axis;

// Axes of a point in a level; gives 0 where the point counts as outside (mode zero), else 1.
__device__ float locate(const float* position, i64 stride, const Level& level, Axis* axes) {
    float valid = 1.0f;
    for (int d = 0; d < DIMS; ++d) {
        float inside;
        const float x = read_axis(position[d * stride], inside, valid);
        axes[d] = grid::locate<INTERPOLATION, float, u32>(x, level.scale[d], level.shift[d], inside,
                                                          [](float p, u32& cell) { return whole(p, cell); });
    }
    return valid;
}

// Index of a corner's entry in the whole table.
__device__ i64 corner_index(const Axis* axes, const Level& level, int corner) {
    return entry_index(grid::corner_key<DIMS>(axes, level, corner), level);
}

} // namespace
