// Grouping points by cell on the CPU: cells and counts by chunks of points, one pass that turns counts into places,
// then every chunk writes its own places. Chunks do not depend on the threads, so the order does not either.
#include "cell_sort.h"
#include "cell_sort.cuh"
#include "common/threads.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 16384; // points

template <class Task> void for_each_chunk(i64 n_points, int n_threads, const Task& task) {
    parallel_for((n_points + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = (chunk + 1) * kChunk < n_points ? (chunk + 1) * kChunk : n_points;
        task(chunk, chunk * kChunk, end);
    });
}

} // namespace

i64 cell_sort_chunk() { return kChunk; }

i64 cell_sort_find(const float* positions, i64 pos_n, i64 pos_k, i64 n_points, int n_dims, const float* frame, int split,
                   float margin, const i64* keys, const i32* values, i64 n_slots, const i64* coordinates, i64 n_cells,
                   int nearest, i32* cells, i64* starts, i64* segments, int n_threads) {
    const cells::Map map{frame, n_dims, split, margin, keys, values, n_slots, coordinates, n_cells, nearest != 0};
    const int slots = margin > 0.0f ? 1 << __builtin_popcount(unsigned(split)) : 1;
    for_each_chunk(n_points, n_threads, [&](i64 chunk, i64 begin, i64 end) {
        i64* counts = starts + chunk * n_cells;
        for (i64 c = 0; c < n_cells; ++c) counts[c] = 0;
        cells::Last last;
        for (i64 n = begin; n < end; ++n) {
            i32* found = cells + n * slots;
            cells::find(map, positions + n * pos_n, pos_k, last, found);
            for (int s = 0; s < slots; ++s)
                if (found[s] >= 0) ++counts[found[s]];
        }
    });
    const i64 n_chunks = (n_points + kChunk - 1) / kChunk;
    i64 total = 0;
    for (i64 c = 0; c < n_cells; ++c) {
        segments[c] = total;
        for (i64 chunk = 0; chunk < n_chunks; ++chunk) {
            const i64 count = starts[chunk * n_cells + c];
            starts[chunk * n_cells + c] = total;
            total += count;
        }
    }
    segments[n_cells] = total;
    return total;
}

void cell_sort_place(const float* positions, i64 pos_n, i64 pos_k, i64 n_points, int n_dims, const float* frame,
                     int split, float margin, const i64* coordinates, i64 n_cells, const i32* cells, i64 slots_per_point,
                     i64* starts, i64 n_pairs, i32* places, i32* order, float* local, int n_threads) {
    const cells::Map map{frame, n_dims, split, margin, nullptr, nullptr, 0, coordinates, n_cells, false};
    for_each_chunk(n_points, n_threads, [&](i64 chunk, i64 begin, i64 end) {
        i64* next = starts + chunk * n_cells;
        for (i64 n = begin; n < end; ++n)
            for (i64 e = n * slots_per_point; e < (n + 1) * slots_per_point; ++e) {
                const i32 cell = cells[e];
                places[e] = -1;
                if (cell < 0) continue;
                const i64 place = next[cell]++;
                places[e] = i32(place);
                order[place] = i32(e);
                for (int d = 0; d < n_dims; ++d)
                    local[d * n_pairs + place] = cells::local(map, positions + n * pos_n, pos_k, cell, d);
            }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
