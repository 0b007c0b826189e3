// The occupancy grid, per cell: where a cell is, how its thickness follows the field, and which coarse bit covers it.
// Cascade k is the cube of side 2^k sides of cascade 0 about the same centre; cells are in Morton order, x lowest.
// Source: the update rule of Mueller et al. 2022, arXiv:2201.05989, appendix E.2.
#pragma once
#include "common/morton.cuh"
#include "common/philox.cuh"

namespace neural {
namespace occupancy {

constexpr i64 kChunk = 4096;             // cells that are summed in one go
constexpr u32 kPointStream = 0x6F636370; // Philox stream of the points in cells

// A random point in a cell, in sides of cascade 0 from the centre.
NEURAL_HD void point(i64 cell, u64 seed, u32 step, int resolution, float (&p)[3]) {
    const i64 per_cascade = i64(resolution) * resolution * resolution;
    const u32 code = u32(cell % per_cascade);
    const float side = float(1 << (cell / per_cascade));
    const philox::Words random = philox::block(seed, kPointStream, step, u64(cell));
    for (int i = 0; i < 3; ++i) {
        const float q = (float(morton::compact(code >> i)) + philox::uniform(random.w[i])) / float(resolution);
        p[i] = (q - 0.5f) * side;
    }
}

NEURAL_HD float decayed(float thickness, float decay) { return thickness < 0.0f ? thickness : thickness * decay; }
NEURAL_HD float raised(float thickness, float value) { // a NaN does not compare
    return thickness >= 0.0f && value > thickness ? value : thickness;
}

// The cell of the next coarser cascade that covers the 8 cells of byte `byte` in this one.
NEURAL_HD u32 parent(u32 byte, int resolution) {
    const u32 quarter = u32(resolution) / 4u;
    return morton::encode(morton::compact(byte) + quarter, morton::compact(byte >> 1) + quarter,
                          morton::compact(byte >> 2) + quarter);
}

} // namespace occupancy
} // namespace neural
