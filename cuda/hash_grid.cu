// Hash grid on the GPU. Buffers as in hash_grid.h, n_points given, `segments` null for one sub-table. Specialised on
// DIMS, FEATURES, INTERPOLATION, OUTSIDE and TABLE_DTYPE (0 fp32, 1 fp16, 2 bf16); 1-D blocks, x over points.
// What belongs to one level takes y over levels: blocks start level by level, so that a level's entries stay in the L2
// cache while all points pass. What sums over levels takes one thread per point, which adds them in order: its bits are
// the same in every run. Gradients of the table are summed by atomics in the order of arrival: theirs are not.
#include "hash_grid_lookup.cuh"

// y over levels
extern "C" __global__ void hash_grid_forward(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
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
        Axis axes[DIMS];
        scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
#pragma unroll kUnroll
        for (int c = 0; c < kCorners; ++c) {
            float values[FEATURES];
            read_entry(table, corner_index(axes, level, c), values);
            const float w = grid::corner_weight<DIMS, float, u32>(axes, c);
            for (int f = 0; f < FEATURES; ++f) sum[f] += w * values[f];
        }
    }
    for (int f = 0; f < FEATURES; ++f) features[n * feat_n + (l * FEATURES + f) * feat_k] = sum[f] * scale;
}

// y over levels
extern "C" __global__ void hash_grid_backward_table(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
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
    Axis axes[DIMS];
    const float scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
    float up[FEATURES];
    if (!read_grad(grad, grad_n, grad_k, n, l, scale, up)) return;
#pragma unroll kUnroll
    for (int c = 0; c < kCorners; ++c) {
        const i64 index = corner_index(axes, level, c);
        add_entry(grad_table + index * FEATURES, grid::corner_weight<DIMS, float, u32>(axes, c), up);
        if (touched) mark(touched, index);
    }
}

// one thread per point
extern "C" __global__ void hash_grid_backward_positions(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
                                                        const void* __restrict__ table,
                                                        const float* __restrict__ grad, i64 grad_n, i64 grad_k,
                                                        i64 n_points, const i64* __restrict__ levels,
                                                        const i64* __restrict__ segments, i64 n_tables, i64 n_levels,
                                                        const float* __restrict__ level_weights,
                                                        float* __restrict__ grad_positions) {
    const i64 n = point_index();
    if (n >= n_points) return;
    float sums[DIMS] = {};
    for (int l = 0; INTERPOLATION != grid::kNearest && l < n_levels; ++l) { // nearest is constant in pieces
        const float weight = level_weights ? level_weights[l] : 1.0f;
        if (weight == 0.0f) continue;
        const Level level = level_of(n, l, levels, segments, n_tables, n_levels);
        Axis axes[DIMS];
        const float scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
        float up[FEATURES];
        if (!read_grad(grad, grad_n, grad_k, n, l, scale, up)) continue;
#pragma unroll kUnroll
        for (int c = 0; c < kCorners; ++c) {
            float values[FEATURES];
            read_entry(table, corner_index(axes, level, c), values);
            grid::add_weight_gradient<DIMS, float, u32>(axes, c, dot(up, values), sums);
        }
    }
    for (int d = 0; d < DIMS; ++d) grad_positions[n * DIMS + d] = sums[d];
}

// y over levels where grad_positions is null; otherwise y is 1 and a thread takes all levels of its point
extern "C" __global__ void hash_grid_backward_backward(
    const float* __restrict__ positions, i64 pos_n, i64 pos_k, const void* __restrict__ table,
    const float* __restrict__ grad, i64 grad_n, i64 grad_k, const float* __restrict__ direction, i64 dir_n, i64 dir_k,
    i64 n_points, const i64* __restrict__ levels, const i64* __restrict__ segments, i64 n_tables, i64 n_levels,
    const float* __restrict__ level_weights, float* grad_table, float* __restrict__ grad_grad, i64 gg_n, i64 gg_k,
    float* __restrict__ grad_positions) {
    const i64 n = point_index();
    if (n >= n_points) return;
    float along[DIMS], sums[DIMS] = {};
    for (int d = 0; d < DIMS; ++d) along[d] = direction[n * dir_n + d * dir_k];
    for (int l = int(blockIdx.y); l < n_levels; l += int(gridDim.y)) {
        const float weight = level_weights ? level_weights[l] : 1.0f;
        float gg[FEATURES] = {};
        float scale = 0.0f;
        if (weight != 0.0f && INTERPOLATION != grid::kNearest) {
            const Level level = level_of(n, l, levels, segments, n_tables, n_levels);
            Axis axes[DIMS];
            scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
            float up[FEATURES];
            const bool any = read_grad(grad, grad_n, grad_k, n, l, scale, up);
#pragma unroll kUnroll
            for (int c = 0; c < kCorners; ++c) {
                const i64 index = corner_index(axes, level, c);
                const float s = grid::directional<DIMS, float, u32>(axes, c, along);
                if (grad_table && any) add_entry(grad_table + index * FEATURES, s, up);
                if (!grad_grad && !grad_positions) continue;
                float values[FEATURES];
                read_entry(table, index, values);
                for (int f = 0; f < FEATURES; ++f) gg[f] += s * values[f];
                if (grad_positions)
                    grid::add_directional_gradient<DIMS, float, u32>(axes, c, along, dot(up, values), sums);
            }
        }
        for (int f = 0; grad_grad && f < FEATURES; ++f)
            grad_grad[n * gg_n + (l * FEATURES + f) * gg_k] = gg[f] * scale;
    }
    for (int d = 0; grad_positions && d < DIMS; ++d) grad_positions[n * DIMS + d] = sums[d];
}
