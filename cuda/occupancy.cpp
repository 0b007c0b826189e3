// The occupancy grid on the CPU: fixed chunks of cells over threads; draws are applied in their order by one thread.
#include "occupancy.h"
#include "common/threads.h"
#include "occupancy.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

template <class Visit> void each_chunk(i64 n, int n_threads, const Visit& visit) { // visit(chunk, first, end)
    parallel_for((n + occupancy::kChunk - 1) / occupancy::kChunk, n_threads, [&](i64 chunk) {
        const i64 first = chunk * occupancy::kChunk, end = first + occupancy::kChunk;
        visit(chunk, first, end < n ? end : n);
    });
}

} // namespace

void occupancy_points(const i64* cells, i64 n, u64 seed, u32 step, int resolution, float centre_x, float centre_y,
                      float centre_z, float half_extent, float* positions, int n_threads) {
    const float side = 2.0f * half_extent, centre[3] = {centre_x, centre_y, centre_z};
    each_chunk(n, n_threads, [&](i64, i64 first, i64 end) {
        for (i64 j = first; j < end; ++j) {
            float p[3];
            occupancy::point(cells[j], seed, step, resolution, p);
            for (int i = 0; i < 3; ++i) positions[i * n + j] = centre[i] + p[i] * side;
        }
    });
}

void occupancy_update(float* thickness, i64 n_cells, const i64* cells, const float* values, i64 n, float decay,
                      int n_threads) {
    each_chunk(n_cells, n_threads, [&](i64, i64 first, i64 end) {
        for (i64 c = first; c < end; ++c) {
            const float kept = occupancy::decayed(thickness[c], decay);
            thickness[c] = cells ? kept : occupancy::raised(kept, values[c]);
        }
    });
    if (cells)
        for (i64 j = 0; j < n; ++j) thickness[cells[j]] = occupancy::raised(thickness[cells[j]], values[j]);
}

float occupancy_mean(const float* thickness, i64 n_cells, int n_threads) {
    struct Sum {
        double total, seen;
    };
    Scratch<Sum> sums((n_cells + occupancy::kChunk - 1) / occupancy::kChunk);
    each_chunk(n_cells, n_threads, [&](i64 chunk, i64 first, i64 end) {
        constexpr int kLanes = 8; // the same for every instruction set, so that they agree to the bit
        double total[kLanes] = {}, seen[kLanes] = {};
        for (i64 c = first; c < end; ++c) {
            const bool counts = thickness[c] >= 0.0f;
            total[c % kLanes] += counts ? double(thickness[c]) : 0.0;
            seen[c % kLanes] += counts ? 1.0 : 0.0;
        }
        Sum sum{};
        for (int lane = 0; lane < kLanes; ++lane) {
            sum.total += total[lane];
            sum.seen += seen[lane];
        }
        sums.data[chunk] = sum;
    });
    Sum all{};
    for (i64 chunk = 0; chunk * occupancy::kChunk < n_cells; ++chunk) {
        all.total += sums.data[chunk].total;
        all.seen += sums.data[chunk].seen;
    }
    return all.seen > 0.0 ? float(all.total / all.seen) : 0.0f;
}

void occupancy_pack(const float* thickness, const float* threshold, int n_cascades, int resolution, u8* bitfield,
                    int n_threads) {
    const i64 bytes = i64(resolution) * resolution * resolution / 8; // per cascade
    const float limit = *threshold;
    each_chunk(bytes * n_cascades, n_threads, [&](i64, i64 first, i64 end) {
        for (i64 b = first; b < end; ++b) {
            int byte = 0;
            for (int bit = 0; bit < 8; ++bit) byte |= int(thickness[8 * b + bit] > limit) << bit;
            bitfield[b] = u8(byte);
        }
    });
    for (int k = 0; k + 1 < n_cascades; ++k) {
        const u8* fine = bitfield + k * bytes;
        u8* coarse = bitfield + (k + 1) * bytes;
        for (i64 b = 0; b < bytes; ++b) {
            if (fine[b] == 0) continue;
            const u32 cell = occupancy::parent(u32(b), resolution);
            coarse[cell >> 3] = u8(coarse[cell >> 3] | (1u << (cell & 7u)));
        }
    }
}

} // namespace NEURAL_ISA
} // namespace neural
