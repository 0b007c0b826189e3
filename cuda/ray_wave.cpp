// Compiled without contraction (CMakeLists.txt): every instruction set finds the same samples.
#include "ray_wave.h"
#include "ray_walk.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using namespace ray_walk;

template <bool Cone> void go_on(const Marched& m, Wave* waves, int n, float* t_starts, float* t_ends) {
    const ray_walk::Rays rays{m.origins, m.directions, m.t_min, m.t_max, m.jitter};
    const Lanes lanes{m.bitfield};
    i64 which[kChunk];
    int number[kChunk], taken = 0; // the waves that have room
    for (int i = 0; i < n; ++i) {
        waves[i].count = 0;
        if (waves[i].room <= 0) continue;
        number[taken] = i;
        which[taken++] = waves[i].ray;
    }
    Wave* held[kWidth];
    walk<Cone>(
        rays, which, taken, m.grid, lanes,
        [&](int i, float& first, float&) {
            const float from = waves[number[i]].from;
            first = from >= 0.0f ? from : first;
        },
        [&](int l, int i) { held[l] = waves + number[i]; },
        [&](vint found, vfloat k, vfloat next, vfloat jitter) {
            vint enough{};
            if (!any(found)) return enough;
            for (int l = 0; l < kWidth; ++l) {
                if (!found[l]) continue;
                Wave& wave = *held[l];
                const int room = wave.room - wave.count;
                const float size = next[l] - k[l];
                const int run = size < float(room) ? int(size) : room;
                write_run<Cone>(m.grid.settings, k[l], jitter[l], run, room, t_starts + wave.at + wave.count,
                                t_ends + wave.at + wave.count);
                wave.count += run;
                wave.from = k[l] + float(run);
                enough[l] = wave.count == wave.room ? -1 : 0;
            }
            return enough;
        },
        [](int, int) {});
}

} // namespace

void march_wave(const Marched& rays, Wave* waves, i64 n, float* t_starts, float* t_ends) {
    for (i64 i = 0; i < n; i += kChunk) {
        const int count = n - i < kChunk ? int(n - i) : int(kChunk);
        if (rays.cone) go_on<true>(rays, waves + i, count, t_starts, t_ends);
        else go_on<false>(rays, waves + i, count, t_starts, t_ends);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
