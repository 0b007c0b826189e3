// Projection of surfels on the GPU: one thread per surfel. Arrays as in surfel_projection.h; launched as 1-D blocks of
// 128.
#include "common/block_sums.cuh"
#include "common/machine.cuh"
#include "surfel_projection.cuh"

using namespace neural;

extern "C" __global__ void surfel_projection_forward(const float* means, const float* quats, const float* log_scales,
                                                     const float* logits, i64 n, const float* w2c,
                                                     const float* intrinsics, float width, float height, float near_,
                                                     float far_, float* image) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const auto camera = projection::camera_of(w2c, intrinsics, nullptr, width, height, near_, far_, 0.0f, 0, 0, 0.0f);
    const float flat[3] = {log_scales[3 * i], log_scales[3 * i + 1], 0.0f};
    surfel::Image<float> s;
    const bool seen = surfel::image(camera, means + 3 * i, quats + 4 * i, flat, logits[i], Machine{}, s);
    const float rows[20] = {s.x, s.y, s.across[0], s.across[1], s.across[2], s.across[3], s.along[0], s.along[1],
                            s.depth, s.normal[0], s.normal[1], s.normal[2], s.opacity, s.centre[0], s.centre[1],
                            s.conic[0], s.conic[1], s.conic[2], s.extent[0], s.extent[1]};
    for (int r = 0; r < 20; ++r) image[r * n + i] = seen ? rows[r] : 0.0f;
}

// camera_sums: [blocks, 16], the sums of each block; nullptr: not wanted.
extern "C" __global__ void surfel_projection_backward(const float* means, const float* quats, const float* log_scales,
                                                      const float* logits, i64 n, const float* w2c,
                                                      const float* intrinsics, const float* image, const float* grad,
                                                      float* grad_means, float* grad_quats, float* grad_log_scales,
                                                      float* grad_logits, float* camera_sums) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    projection::Gradients<float> g{};
    if (i < n && image[12 * n + i] > 0.0f) {
        const auto camera = projection::camera_of(w2c, intrinsics, nullptr, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0, 0, 0.0f);
        const float flat[3] = {log_scales[3 * i], log_scales[3 * i + 1], 0.0f};
        const auto up = [&](int row) { return grad[row * n + i]; };
        const surfel::Image<float> upstream{up(0), up(1), {up(2), up(3), up(4), up(5)}, {up(6), up(7)}, up(8),
                                            {up(9), up(10), up(11)}, up(12), {}, {}, {}};
        surfel::backward(camera, means + 3 * i, quats + 4 * i, flat, logits[i], upstream, Machine{}, g);
    }
    if (i < n) {
        for (int r = 0; r < 3; ++r) grad_means[3 * i + r] = g.mean[r], grad_log_scales[3 * i + r] = g.log_scale[r];
        for (int r = 0; r < 4; ++r) grad_quats[4 * i + r] = g.quat[r];
        grad_logits[i] = g.logit;
    }
    if (camera_sums) block_sums(g.camera, camera_sums + 16 * i64(blockIdx.x));
}
