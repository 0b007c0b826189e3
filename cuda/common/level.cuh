// Levels of a lattice of features over [0, 1]^D: what a descriptor says, for every encoding that has a pooled table.
//
// A descriptor is a row of int64: offset and size (in entries), 1 if hashed, key, then resolution, scale and shift of
// each axis (the latter two as fp32 bits). A position x lies at x scale + shift. The entry of a lattice point is its
// key modulo the size: the XOR of the row's key and coordinates times primes where hashed, otherwise the sum of
// coordinates times strides.
#pragma once
#include "platform.cuh"

namespace neural {
namespace grid {

enum Outside { kWrap = 0, kClamp = 1, kZero = 2 };

// Cells end here on both sides: farther positions, and NaN on the upper side, take the last cell, so that every input
// has an integer, the same on every machine. Fp32 has no fractions this far out. Infinities and NaN that reach a cell
// give NaN features: both under wrap, NaN under clamp; under zero they are outside like any other.
constexpr float kFarthestCell = 1073741824.0f; // 2^30

template <int D> constexpr int kRowLength = 4 + 3 * D;

template <int D> struct Level {
    i64 offset;
    u32 size;
    bool hashed;
    u32 key;       // XORed into a hashed corner's key; 0 if dense
    u32 factor[D]; // key of a corner: XOR (hashed) or sum (dense) over axes of coordinate * factor
    u32 magic;     // floor(2^32 / size)
    float scale[D], shift[D];
};

template <int D> NEURAL_HD Level<D> read_level(const i64* row) {
    const u32 primes[7] = {1u, 2654435761u, 805459861u, 3674653429u, 2097192037u, 1434869437u, 2165219737u};
    Level<D> level;
    level.offset = row[0];
    level.size = u32(row[1]);
    level.hashed = row[2] != 0;
    level.key = u32(row[3]);
    level.magic = u32((u64(1) << 32) / level.size);
    u64 stride = 1;
    for (int d = 0; d < D; ++d) {
        if (level.hashed) level.factor[d] = primes[d];
        else level.factor[d] = stride <= level.size ? u32(stride) : 0u; // a tiled level repeats along later axes
        if (stride <= level.size) stride *= u64(row[4 + d]);
        FloatBits scale, shift;
        scale.bits = u32(row[4 + D + d]);
        shift.bits = u32(row[4 + 2 * D + d]);
        level.scale[d] = scale.value;
        level.shift[d] = shift.value;
    }
    return level;
}

} // namespace grid
} // namespace neural
