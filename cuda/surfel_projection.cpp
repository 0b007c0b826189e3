// Projection of surfels on the CPU: lanes are surfels, chunks of rows over threads, as in gaussian_projection.cpp.
#include "surfel_projection.h"
#include "gaussian_rows.h"
#include "surfel_projection.cuh"

namespace neural {
namespace NEURAL_ISA {

void surfel_projection_forward(const float* means, const float* quats, const float* log_scales, const float* logits,
                               i64 n, const float* w2c, const float* intrinsics, float width, float height, float near,
                               float far, float* image, int n_threads) {
    const projection::Camera camera =
        projection::camera_of(w2c, intrinsics, nullptr, width, height, near, far, 0.0f, 0, 0, 0.0f);
    const GaussianRows parameters{means, quats, log_scales, logits};
    parallel_for((n + kProjectionChunk - 1) / kProjectionChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kProjectionChunk ? n : (chunk + 1) * kProjectionChunk;
        for (i64 i = chunk * kProjectionChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            GaussianLanes g = read(parameters, i, count);
            g.log_scale[2] = splat(0.0f);
            surfel::Image<vfloat> out;
            const vint seen =
                surfel::image(camera, g.mean, g.quat, g.log_scale, g.logit, ProjectionMachine{}, out);
            const vfloat rows[20] = {out.x, out.y, out.across[0], out.across[1], out.across[2], out.across[3],
                                     out.along[0], out.along[1], out.depth, out.normal[0], out.normal[1], out.normal[2],
                                     out.opacity, out.centre[0], out.centre[1], out.conic[0], out.conic[1],
                                     out.conic[2], out.extent[0], out.extent[1]};
            for (int r = 0; r < 20; ++r) store_first(image + r * n + i, seen ? rows[r] : splat(0.0f), count);
        }
    });
}

void surfel_projection_backward(const float* means, const float* quats, const float* log_scales, const float* logits,
                                i64 n, const float* w2c, const float* intrinsics, const float* image,
                                const float* grad, float* grad_means, float* grad_quats, float* grad_log_scales,
                                float* grad_logits, float* grad_camera, int n_threads) {
    const projection::Camera camera =
        projection::camera_of(w2c, intrinsics, nullptr, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0, 0, 0.0f);
    const GaussianRows parameters{means, quats, log_scales, logits};
    const i64 n_chunks = (n + kProjectionChunk - 1) / kProjectionChunk;
    const Scratch<float> sums(n_chunks * kSums + 1);
    parallel_for(n_chunks, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kProjectionChunk ? n : (chunk + 1) * kProjectionChunk;
        vfloat total[kSums]{};
        for (i64 i = chunk * kProjectionChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const vint seen = load_first(image + 12 * n + i, count) > 0.0f;
            projection::Gradients<vfloat> g{};
            if (any(seen)) {
                GaussianLanes x = read(parameters, i, count);
                x.log_scale[2] = splat(0.0f);
                const auto up = [&](i64 row) { return load_first(grad + row * n + i, count); };
                const surfel::Image<vfloat> upstream{up(0), up(1), {up(2), up(3), up(4), up(5)}, {up(6), up(7)}, up(8),
                                                     {up(9), up(10), up(11)}, up(12), {}, {}, {}};
                surfel::backward(camera, x.mean, x.quat, x.log_scale, x.logit, upstream, ProjectionMachine{}, g);
                const auto only_seen = [&](vfloat* v, int length) {
                    for (int r = 0; r < length; ++r) v[r] = seen ? v[r] : splat(0.0f);
                };
                only_seen(g.mean, 3), only_seen(g.quat, 4), only_seen(g.log_scale, 3), only_seen(&g.logit, 1);
                if (grad_camera)
                    for (int r = 0; r < kSums; ++r) total[r] += seen ? g.camera[r] : splat(0.0f);
            }
            store_rows(grad_means + 3 * i, count, g.mean);
            store_rows(grad_quats + 4 * i, count, g.quat);
            store_rows(grad_log_scales + 3 * i, count, g.log_scale);
            store_first(grad_logits + i, g.logit, count);
        }
        for (int r = 0; r < kSums; ++r) sums.data[chunk * kSums + r] = lane_sum(total[r]);
    });
    if (grad_camera) add_chunks(sums.data, n_chunks, grad_camera);
}

} // namespace NEURAL_ISA
} // namespace neural
