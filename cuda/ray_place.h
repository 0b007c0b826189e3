// Samples of a wave put into a block's rows: positions in rows 0-2, directions in rows 3-5, where the stages want them.
#pragma once
#include "field_block.h"
#include "ray_points.cuh"
#include "ray_wave.h"

namespace neural {
namespace NEURAL_ISA {

// The samples of a wave in space, at rows 0-2. Whole vectors: what lies past is written over by the next ray.
inline void place(const Marched& rays, const Wave& wave, const float* starts, const float* ends, const field::Block& b) {
    for (int k = 0; k < 3; ++k) {
        const float o = rays.origins.data[wave.ray * rays.origins.stride_n + k * rays.origins.stride_k];
        const float d = rays.directions.data[wave.ray * rays.directions.stride_n + k * rays.directions.stride_k];
        for (i64 c = wave.at; c < wave.at + wave.count; c += kWidth)
            store(b.row(k) + c, o + ray_points::middle(load(starts + c), load(ends + c)) * d);
    }
}

// A ray's direction at rows 3-5, columns `at` to `at` + n; whole vectors too.
inline void point(const Marched& rays, i64 ray, const field::Block& b, i64 at, i64 n) {
    for (int k = 0; k < 3; ++k) {
        const vfloat d = splat(rays.directions.data[ray * rays.directions.stride_n + k * rays.directions.stride_k]);
        for (i64 c = at; c < at + n; c += kWidth) store(b.row(3 + k) + c, d);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
