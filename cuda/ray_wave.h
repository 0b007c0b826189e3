// Marching in waves: the next few samples of each ray, for kernels that look at a ray's front before they go on.
// Internal to the CPU kernels; the samples are those of ray_march.h, bit for bit, however a ray is cut into waves.
#pragma once
#include "common/features.h"
#include "ray_march.cuh"

namespace neural {
namespace NEURAL_ISA {

struct Marched { // rays and the grid that they go through, as in ray_march.h
    Rows origins, directions;
    const float *t_min, *t_max, *jitter;
    march::Grid grid;
    bool cone;
    const u8* bitfield;
};

// A ray, where it goes on, and where its samples go.
struct Wave {
    i64 ray;
    float from;      // lattice index to go on at, afterwards the next one; below 0: where the ray enters the grid
    int room, count; // samples at most, and found: fewer than room where the ray has ended
    i64 at;          // they go to t_starts[at ..], t_ends[at ..]
};

// Length of the wave that begins at a ray's `rank`-th sample: as long as what is behind it, within bounds. It depends on
// nothing else, so that a ray renders the same in any company.
constexpr int kFirstWave = 8, kLongestWave = 32;
NEURAL_HD int wave_length(int rank) {
    return rank < kFirstWave ? kFirstWave : rank < kLongestWave ? rank : kLongestWave;
}

void march_wave(const Marched& rays, Wave* waves, i64 n, float* t_starts, float* t_ends);

} // namespace NEURAL_ISA
} // namespace neural
