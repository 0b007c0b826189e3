// Simplex encoding on the GPU. Buffers as in simplex.h, n_points given, `segments` null for one sub-table. Specialised on
// DIMS, FEATURES, LATTICE, OUTSIDE and TABLE_DTYPE (0 fp32, 1 fp16, 2 bf16); 1-D blocks, x over points. As in
// hash_grid.cu, what belongs to one level takes y over levels, and what sums over levels takes one thread per point.
// Gradients of the table are summed by atomics in the order of arrival. Tables are aligned to an entry or to 16 bytes,
// whichever is less.
#include "common/entries.cuh"
#include "simplex.cuh"

namespace {

struct Thread {
    typedef float V;
    typedef u32 U;
    typedef bool Mask;
    static __device__ bool above(float a, float b) { return a > b; }
    template <class T> static __device__ T select(bool m, T a, T b) { return m ? a : b; }
    static __device__ float at_least_zero(float v) { return v > 0.0f ? v : 0.0f; }
    static __device__ float whole(float q, u32& cell) { return ::whole(q, cell); }
};
typedef simplex::Place<Thread, DIMS> Place;

// The simplex of a point in a level, and what its result is multiplied by: 0 where the point counts as outside (mode
// zero), NaN where it is not finite. slopes[d] is dp_d/dx_d.
__device__ Place locate(const float* position, i64 stride, const Level& level, float& scale, float* slopes) {
    float q[DIMS], valid = 1.0f, sum = 0.0f;
    for (int d = 0; d < DIMS; ++d) {
        float inside;
        q[d] = read_axis(position[d * stride], inside, valid) * level.scale[d] + level.shift[d];
        slopes[d] = inside * level.scale[d];
        sum += q[d];
    }
    scale = valid + sum * 0.0f;
    simplex::to_lattice<DIMS>(LATTICE, q);
    return simplex::locate<Thread, DIMS>(q, level);
}

// From one vertex' key to the next.
__device__ u32 advance(u32 key, u32 step, const Level& level) { return level.hashed ? key ^ step : key + step; }

} // namespace

// y over levels
extern "C" __global__ void simplex_forward(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
                                           const void* __restrict__ table, i64 n_points,
                                           const i64* __restrict__ levels, const i64* __restrict__ segments,
                                           i64 n_tables, i64 n_levels, const float* __restrict__ level_weights,
                                           float* __restrict__ features, i64 feat_n, i64 feat_k) {
    const i64 n = point_index();
    const int l = int(blockIdx.y);
    if (n >= n_points) return;
    const float weight = level_weights ? level_weights[l] : 1.0f;
    float sum[FEATURES] = {};
    float scale = 0.0f;
    if (weight != 0.0f) {
        const Level level = level_of(n, l, levels, segments, n_tables, n_levels);
        float slopes[DIMS];
        const Place place = locate(positions + n * pos_n, pos_k, level, scale, slopes);
        scale *= weight;
        u32 key = place.key;
#pragma unroll
        for (int k = 0; k <= DIMS; ++k) {
            if (k > 0) key = advance(key, place.step[k > 0 ? k - 1 : 0], level);
            float values[FEATURES];
            read_entry(table, entry_index(key, level), values);
            const float w = simplex::weight<DIMS>(place.fraction, k, 1.0f);
            for (int f = 0; f < FEATURES; ++f) sum[f] += w * values[f];
        }
    }
    for (int f = 0; f < FEATURES; ++f) features[n * feat_n + (l * FEATURES + f) * feat_k] = sum[f] * scale;
}

// y over levels
extern "C" __global__ void simplex_backward_table(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
                                                  const float* __restrict__ grad, i64 grad_n, i64 grad_k,
                                                  i64 n_points, const i64* __restrict__ levels,
                                                  const i64* __restrict__ segments, i64 n_tables, i64 n_levels,
                                                  const float* __restrict__ level_weights, float* grad_table,
                                                  u64* touched) {
    const i64 n = point_index();
    const int l = int(blockIdx.y);
    if (n >= n_points) return;
    const float weight = level_weights ? level_weights[l] : 1.0f;
    if (weight == 0.0f) return;
    const Level level = level_of(n, l, levels, segments, n_tables, n_levels);
    float slopes[DIMS], scale, up[FEATURES];
    const Place place = locate(positions + n * pos_n, pos_k, level, scale, slopes);
    if (!read_grad(grad, grad_n, grad_k, n, l, scale * weight, up)) return;
    u32 key = place.key;
#pragma unroll
    for (int k = 0; k <= DIMS; ++k) {
        if (k > 0) key = advance(key, place.step[k > 0 ? k - 1 : 0], level);
        const i64 index = entry_index(key, level);
        add_entry(grad_table + index * FEATURES, simplex::weight<DIMS>(place.fraction, k, 1.0f), up);
        if (touched) mark(touched, index);
    }
}

// one thread per point
extern "C" __global__ void simplex_backward_positions(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
                                                      const void* __restrict__ table,
                                                      const float* __restrict__ grad, i64 grad_n, i64 grad_k,
                                                      i64 n_points, const i64* __restrict__ levels,
                                                      const i64* __restrict__ segments, i64 n_tables, i64 n_levels,
                                                      const float* __restrict__ level_weights,
                                                      float* __restrict__ grad_positions) {
    const i64 n = point_index();
    if (n >= n_points) return;
    float sums[DIMS] = {};
    for (int l = 0; l < n_levels; ++l) {
        const float weight = level_weights ? level_weights[l] : 1.0f;
        if (weight == 0.0f) continue;
        const Level level = level_of(n, l, levels, segments, n_tables, n_levels);
        float slopes[DIMS], scale, up[FEATURES], along[DIMS], before = 0.0f;
        const Place place = locate(positions + n * pos_n, pos_k, level, scale, slopes);
        if (!read_grad(grad, grad_n, grad_k, n, l, scale * weight, up)) continue;
        u32 key = place.key;
#pragma unroll
        for (int k = 0; k <= DIMS; ++k) {
            if (k > 0) key = advance(key, place.step[k > 0 ? k - 1 : 0], level);
            float values[FEATURES];
            read_entry(table, entry_index(key, level), values);
            const float here = dot(up, values);
            if (k > 0) along[k > 0 ? k - 1 : 0] = here - before;
            before = here;
        }
        simplex::restore<Thread, DIMS>(along, place.swaps);
        simplex::from_lattice<DIMS>(LATTICE, along);
        for (int d = 0; d < DIMS; ++d) sums[d] += along[d] * slopes[d];
    }
    for (int d = 0; d < DIMS; ++d) grad_positions[n * DIMS + d] = sums[d];
}

// y over levels
extern "C" __global__ void simplex_backward_backward(
    const float* __restrict__ positions, i64 pos_n, i64 pos_k, const void* __restrict__ table,
    const float* __restrict__ grad, i64 grad_n, i64 grad_k, const float* __restrict__ direction, i64 dir_n, i64 dir_k,
    i64 n_points, const i64* __restrict__ levels, const i64* __restrict__ segments, i64 n_tables, i64 n_levels,
    const float* __restrict__ level_weights, float* grad_table, float* __restrict__ grad_grad, i64 gg_n, i64 gg_k) {
    const i64 n = point_index();
    const int l = int(blockIdx.y);
    if (n >= n_points) return;
    const float weight = level_weights ? level_weights[l] : 1.0f;
    float gg[FEATURES] = {};
    float scale = 0.0f;
    if (weight != 0.0f) {
        const Level level = level_of(n, l, levels, segments, n_tables, n_levels);
        float slopes[DIMS], along[DIMS], up[FEATURES];
        const Place place = locate(positions + n * pos_n, pos_k, level, scale, slopes);
        scale *= weight;
        for (int d = 0; d < DIMS; ++d) along[d] = direction[n * dir_n + d * dir_k] * slopes[d];
        simplex::to_lattice<DIMS>(LATTICE, along);
        simplex::permute<Thread, DIMS>(along, place.swaps);
        const bool any = read_grad(grad, grad_n, grad_k, n, l, scale, up);
        u32 key = place.key;
#pragma unroll
        for (int k = 0; k <= DIMS; ++k) {
            if (k > 0) key = advance(key, place.step[k > 0 ? k - 1 : 0], level);
            const i64 index = entry_index(key, level);
            const float w = simplex::weight<DIMS>(along, k, 0.0f);
            if (grad_table && any) add_entry(grad_table + index * FEATURES, w, up);
            if (!grad_grad) continue;
            float values[FEATURES];
            read_entry(table, index, values);
            for (int f = 0; f < FEATURES; ++f) gg[f] += w * values[f];
        }
    }
    for (int f = 0; grad_grad && f < FEATURES; ++f) grad_grad[n * gg_n + (l * FEATURES + f) * gg_k] = gg[f] * scale;
}
