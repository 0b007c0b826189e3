// Looking one point up in one level of a hash grid on a GPU. Specialised on DIMS, FEATURES, INTERPOLATION, OUTSIDE and
// TABLE_DTYPE (0 fp32, 1 fp16, 2 bf16), for the .cu file that includes it. Tables are aligned to an entry or to 16 bytes,
// whichever is less.
#pragma once
#include "common/half.cuh"
#include "hash_grid.cuh"

namespace {

using namespace neural;

constexpr int kCorners = INTERPOLATION == grid::kNearest ? 1 : 1 << DIMS;
constexpr int kUnroll = kCorners <= 16 ? kCorners : 4;
typedef grid::Axis<float, u32> Axis;
typedef grid::Level<DIMS> Level;

template <class T> struct alignas(sizeof(T) * FEATURES < 16 ? sizeof(T) * FEATURES : 16) Entry {
    T values[FEATURES];
};

// Axes of a point in a level; gives 0 where the point counts as outside (mode zero), else 1.
__device__ float locate(const float* position, i64 stride, const Level& level, Axis* axes) {
    float valid = 1.0f;
    for (int d = 0; d < DIMS; ++d) {
        float x = position[d * stride], inside = 1.0f;
        if (OUTSIDE != grid::kWrap) {
            const bool in = x >= 0.0f && x <= 1.0f;
            inside = in ? 1.0f : 0.0f;
            if (OUTSIDE == grid::kZero) {
                valid *= inside;
                x = in ? x : 0.0f;
            } else {
                x = x < 0.0f ? 0.0f : (x > 1.0f ? 1.0f : x); // NaN stays
            }
        }
        axes[d] = grid::locate<INTERPOLATION, float, u32>(x, level.scale[d], level.shift[d], inside, [](float p, u32& cell) {
            const float f = floorf(p);
            cell = u32(int(fmaxf(fminf(f, grid::kFarthestCell), -grid::kFarthestCell)));
            return f;
        });
    }
    return valid;
}

// Index of a corner's entry in the whole table. A dense key is too large at the box's faces only.
__device__ i64 entry_index(const Axis* axes, const Level& level, int corner) {
    u32 key = grid::corner_key<DIMS>(axes, level, corner);
    if (level.hashed) key &= level.size - 1;
    else if (key >= level.size) key %= level.size;
    return level.offset + key;
}

__device__ void read_entry(const void* table, i64 index, float* values) {
#if TABLE_DTYPE == 0
    const Entry<float> entry = ((const Entry<float>*)table)[index];
    for (int f = 0; f < FEATURES; ++f) values[f] = entry.values[f];
#else
    const Entry<u16> entry = ((const Entry<u16>*)table)[index];
    for (int f = 0; f < FEATURES; ++f)
        values[f] = TABLE_DTYPE == 1 ? from_fp16(entry.values[f]) : from_bf16(entry.values[f]);
#endif
}

} // namespace
