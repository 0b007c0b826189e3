// Sample positions on the GPU, 1-D blocks of 128: forward one thread per sample, backward one warp of 32 threads per ray,
// which sums its samples in a fixed order. Buffers as in ray_points.h.
#include "ray_points.cuh"

using namespace neural;

extern "C" __global__ void ray_points_forward(const float* origins, i64 on, i64 ok, const float* directions, i64 dn,
                                              i64 dk, const float* t_starts, const float* t_ends,
                                              const i64* ray_indices, i64 n_samples, float* positions,
                                              float* sample_directions) {
    const i64 s = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (s >= n_samples) return;
    const i64 r = ray_indices[s];
    const float t = ray_points::middle(t_starts[s], t_ends[s]);
    for (int i = 0; i < 3; ++i) {
        const float d = directions[r * dn + i * dk];
        positions[i * n_samples + s] = origins[r * on + i * ok] + t * d;
        sample_directions[i * n_samples + s] = d;
    }
}

extern "C" __global__ void ray_points_backward(const float* grad_positions, i64 gpn, i64 gpk,
                                               const float* grad_sample_directions, i64 gdn, i64 gdk,
                                               const float* t_starts, const float* t_ends, const i64* packed_info,
                                               i64 n_rays, float* grad_origins, float* grad_directions) {
    const i64 r = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
    const int lane = int(threadIdx.x % 32);
    if (r >= n_rays) return; // whole warps
    const i64 start = packed_info[2 * r], end = start + packed_info[2 * r + 1];
    float o[3] = {0.0f, 0.0f, 0.0f}, d[3] = {0.0f, 0.0f, 0.0f};
    for (i64 s = start + lane; s < end; s += 32) {
        const float t = ray_points::middle(t_starts[s], t_ends[s]);
        for (int i = 0; i < 3; ++i) {
            const float g = grad_positions ? grad_positions[s * gpn + i * gpk] : 0.0f;
            o[i] += g;
            d[i] += t * g + (grad_sample_directions ? grad_sample_directions[s * gdn + i * gdk] : 0.0f);
        }
    }
    for (int i = 0; i < 3; ++i) {
        for (int half = 16; half > 0; half /= 2) {
            o[i] += __shfl_down_sync(0xffffffffu, o[i], half);
            d[i] += __shfl_down_sync(0xffffffffu, d[i], half);
        }
        if (lane == 0) {
            grad_origins[3 * r + i] = o[i];
            grad_directions[3 * r + i] = d[i];
        }
    }
}
