// Hash grid with learned probing on the GPU. Buffers as in probed_grid.h, kernels' shape as in hash_grid.cu. Specialised
// on DIMS, FEATURES, INTERPOLATION, OUTSIDE, TABLE_DTYPE (0), LOG2_CODES and LOG2_PROBES; 1-D blocks, x over points.
// Gradients of table and probabilities are summed by atomics in the order of arrival.
#include "hash_grid_lookup.cuh"
#include "probed_grid.cuh"

namespace {

constexpr int kProbes = 1 << LOG2_PROBES;
constexpr probe::Book kBook = {LOG2_CODES, LOG2_PROBES};

__device__ Level level_at(const i64* levels, int l) {
    return grid::read_level<DIMS>(levels + l * grid::kRowLength<DIMS>);
}

// Entry of the whole table that a corner uses; book -1: the level is dense.
__device__ i64 probed_index(const Axis* axes, const Level& level, const u8* codes, i64 book, int corner) {
    if (book < 0) return corner_index(axes, level, corner);
    const u8 code = codes[(book << LOG2_CODES) + probe::code_place<DIMS, float, u32>(axes, kBook, corner)];
    return level.offset + probe::block_start<DIMS>(axes, level, kBook, corner) + code;
}

} // namespace

// y over levels
extern "C" __global__ void probed_grid_forward(const float* __restrict__ positions, i64 pos_n, i64 pos_k,
                                               const float* __restrict__ table, const u8* __restrict__ codes,
                                               i64 n_points, const i64* __restrict__ levels, i64 n_levels, i64 n_books,
                                               const float* __restrict__ level_weights, float* __restrict__ features,
                                               i64 feat_n, i64 feat_k) {
    const i64 n = point_index();
    const int l = int(blockIdx.y);
    if (n >= n_points) return;
    const float weight = level_weights ? level_weights[l] : 1.0f;
    float sum[FEATURES] = {}, scale = 0.0f;
    if (weight != 0.0f) {
        const Level level = level_at(levels, l);
        Axis axes[DIMS];
        scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
        for (int c = 0; c < kCorners; ++c) {
            const float* entry = table + probed_index(axes, level, codes, l - (n_levels - n_books), c) * FEATURES;
            const float w = grid::corner_weight<DIMS, float, u32>(axes, c);
            for (int f = 0; f < FEATURES; ++f) sum[f] += w * entry[f];
        }
    }
    for (int f = 0; f < FEATURES; ++f) features[n * feat_n + (l * FEATURES + f) * feat_k] = sum[f] * scale;
}

// y over levels; direction null, or that of the second derivative
extern "C" __global__ void probed_grid_backward_table(
    const float* __restrict__ positions, i64 pos_n, i64 pos_k, const float* __restrict__ table,
    const float* __restrict__ probabilities, const float* __restrict__ grad, i64 grad_n, i64 grad_k,
    const float* __restrict__ direction, i64 dir_n, i64 dir_k, i64 n_points, const i64* __restrict__ levels,
    i64 n_levels, i64 n_books, const float* __restrict__ level_weights, float* grad_table, u64* touched,
    float* grad_probabilities) {
    const i64 n = point_index();
    const int l = int(blockIdx.y);
    const float weight = level_weights ? level_weights[l] : 1.0f;
    if (n >= n_points || weight == 0.0f || (direction && INTERPOLATION == grid::kNearest)) return;
    const Level level = level_at(levels, l);
    Axis axes[DIMS];
    const float scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
    float up[FEATURES], along[DIMS];
    if (!read_grad(grad, grad_n, grad_k, n, l, scale, up)) return;
    for (int d = 0; direction && d < DIMS; ++d) along[d] = direction[n * dir_n + d * dir_k];
    const i64 book = l - (n_levels - n_books);
    for (int c = 0; c < kCorners; ++c) {
        const float w = direction ? grid::directional<DIMS, float, u32>(axes, c, along)
                                  : grid::corner_weight<DIMS, float, u32>(axes, c);
        if (book < 0) {
            const i64 index = corner_index(axes, level, c);
            add_entry(grad_table + index * FEATURES, w, up);
            if (touched) mark(touched, index);
            continue;
        }
        const i64 start = level.offset + probe::block_start<DIMS>(axes, level, kBook, c);
        const i64 row = ((book << LOG2_CODES) + probe::code_place<DIMS, float, u32>(axes, kBook, c)) << LOG2_PROBES;
        for (int i = 0; i < kProbes; ++i) {
            const i64 at = (start + i) * FEATURES;
            add_entry(grad_table + at, w * probabilities[row + i], up);
            atomicAdd(grad_probabilities + row + i, w * dot(up, table + at));
        }
        if (touched) { // a block may lie across two runs of 64
            mark(touched, start);
            mark(touched, start + kProbes - 1);
        }
    }
}

// one thread per point, which adds the levels in order
extern "C" __global__ void probed_grid_backward_positions(
    const float* __restrict__ positions, i64 pos_n, i64 pos_k, const float* __restrict__ table,
    const u8* __restrict__ codes, const float* __restrict__ grad, i64 grad_n, i64 grad_k, i64 n_points,
    const i64* __restrict__ levels, i64 n_levels, i64 n_books, const float* __restrict__ level_weights,
    float* __restrict__ grad_positions) {
    const i64 n = point_index();
    if (n >= n_points) return;
    float sums[DIMS] = {};
    for (int l = 0; INTERPOLATION != grid::kNearest && l < n_levels; ++l) { // nearest is constant in pieces
        const float weight = level_weights ? level_weights[l] : 1.0f;
        if (weight == 0.0f) continue;
        const Level level = level_at(levels, l);
        Axis axes[DIMS];
        const float scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
        float up[FEATURES];
        if (!read_grad(grad, grad_n, grad_k, n, l, scale, up)) continue;
        for (int c = 0; c < kCorners; ++c) {
            const float* entry = table + probed_index(axes, level, codes, l - (n_levels - n_books), c) * FEATURES;
            grid::add_weight_gradient<DIMS, float, u32>(axes, c, dot(up, entry), sums);
        }
    }
    for (int d = 0; d < DIMS; ++d) grad_positions[n * DIMS + d] = sums[d];
}

// one thread per point, which adds the levels in order
extern "C" __global__ void probed_grid_backward_backward(
    const float* __restrict__ positions, i64 pos_n, i64 pos_k, const float* __restrict__ table,
    const u8* __restrict__ codes, const float* __restrict__ grad, i64 grad_n, i64 grad_k,
    const float* __restrict__ direction, i64 dir_n, i64 dir_k, i64 n_points, const i64* __restrict__ levels,
    i64 n_levels, i64 n_books, const float* __restrict__ level_weights, float* __restrict__ grad_grad, i64 gg_n,
    i64 gg_k, float* __restrict__ grad_positions) {
    const i64 n = point_index();
    if (n >= n_points) return;
    float along[DIMS], sums[DIMS] = {};
    for (int d = 0; d < DIMS; ++d) along[d] = direction[n * dir_n + d * dir_k];
    for (int l = 0; l < n_levels; ++l) {
        const float weight = level_weights ? level_weights[l] : 1.0f;
        float gg[FEATURES] = {}, scale = 0.0f;
        if (weight != 0.0f && INTERPOLATION != grid::kNearest) {
            const Level level = level_at(levels, l);
            Axis axes[DIMS];
            scale = weight * locate(positions + n * pos_n, pos_k, level, axes);
            float up[FEATURES];
            read_grad(grad, grad_n, grad_k, n, l, scale, up);
            for (int c = 0; c < kCorners; ++c) {
                const float* entry = table + probed_index(axes, level, codes, l - (n_levels - n_books), c) * FEATURES;
                const float s = grid::directional<DIMS, float, u32>(axes, c, along);
                for (int f = 0; f < FEATURES; ++f) gg[f] += s * entry[f];
                grid::add_directional_gradient<DIMS, float, u32>(axes, c, along, dot(up, entry), sums);
            }
        }
        for (int f = 0; f < FEATURES; ++f) grad_grad[n * gg_n + (l * FEATURES + f) * gg_k] = gg[f] * scale;
    }
    for (int d = 0; d < DIMS; ++d) grad_positions[n * DIMS + d] = sums[d];
}
