// Cells of points on the GPU; arrays as in cell_sort.h. The sort itself is torch's, stable. One thread per point (find)
// or per pair (place); DIMS is the number of axes. `places` arrives filled with -1.
#include "cell_sort.cuh"

using namespace neural;

extern "C" __global__ void cell_sort_find(const float* positions, i64 pos_n, i64 pos_k, i64 n_points, const float* frame,
                                          i64 split, float margin, const i64* keys, const i32* values, i64 n_slots,
                                          const i64* coordinates, i64 n_cells, i64 nearest, i64 slots_per_point,
                                          i32* found) {
    const i64 n = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (n >= n_points) return;
    const cells::Map map{frame,       DIMS,    int(split),  margin, keys, values, n_slots,
                         coordinates, n_cells, nearest != 0};
    cells::Last last;
    cells::find(map, positions + n * pos_n, pos_k, last, found + n * slots_per_point);
}

extern "C" __global__ void cell_sort_place(const float* positions, i64 pos_n, i64 pos_k, const float* frame, i64 split,
                                           float margin, const i64* coordinates, i64 n_cells, const i32* found,
                                           i64 slots_per_point, const i32* order, i64 n_pairs, i32* places,
                                           float* local) {
    const i64 p = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= n_pairs) return;
    const cells::Map map{frame, DIMS, int(split), margin, nullptr, nullptr, 0, coordinates, n_cells, false};
    const i64 entry = order[p];
    places[entry] = i32(p);
    for (int d = 0; d < DIMS; ++d)
        local[d * n_pairs + p] =
            cells::local(map, positions + entry / slots_per_point * pos_n, pos_k, found[entry], d);
}
