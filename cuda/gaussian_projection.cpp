// Projection of Gaussians on the CPU: lanes are Gaussians, chunks of rows over threads. The gradient of the camera is a
// sum over all Gaussians: each chunk has its own, added in the order of the chunks.
#include "gaussian_projection.h"
#include "common/features.h"
#include "common/scan.h"
#include "common/threads.h"
#include "gaussian_projection.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 2048; // rows per task
constexpr int kCamera = 16;  // gradients of rotation, translation, intrinsics

struct Machine {
    NEURAL_HD vfloat exp(vfloat v) const { return NEURAL_ISA::exp(v); }
    NEURAL_HD vfloat log(vfloat v) const { return NEURAL_ISA::log(v); }
    NEURAL_HD vfloat sqrt(vfloat v) const { return NEURAL_ISA::sqrt(v); }
    NEURAL_HD vfloat clamp(vfloat v, float low, float high) const {
        return v < low ? splat(low) : (v > high ? splat(high) : v);
    }
    NEURAL_HD vfloat choose(vint mask, vfloat a, vfloat b) const { return mask ? a : b; }
};

struct Parameters { // row-major
    const float *means, *quats, *log_scales, *logits;

    NEURAL_HD void load(i64 i, int count, vfloat* mean, vfloat* quat, vfloat* log_scale, vfloat& logit) const {
        for (int k = 0; k < 3; ++k) mean[k] = load_strided(means + 3 * i + k, 3, count);
        for (int k = 0; k < 4; ++k) quat[k] = load_strided(quats + 4 * i + k, 4, count);
        for (int k = 0; k < 3; ++k) log_scale[k] = load_strided(log_scales + 3 * i + k, 3, count);
        logit = load_first(logits + i, count);
    }
};

projection::Camera read(const float* c) {
    projection::Camera k;
    for (int i = 0; i < 9; ++i) k.w[i] = c[i];
    for (int i = 0; i < 3; ++i) k.t[i] = c[9 + i];
    k.fx = c[12], k.fy = c[13], k.cx = c[14], k.cy = c[15], k.width = c[16], k.height = c[17];
    k.near_ = c[18], k.far_ = c[19], k.blur = c[20];
    k.antialiased = c[21] != 0.0f, k.orthographic = c[22] != 0.0f;
    return k;
}

} // namespace

void gaussian_projection_forward(const float* means, const float* quats, const float* log_scales, const float* logits,
                                 i64 n, const float* camera, float* image, int n_threads) {
    const projection::Camera k = read(camera);
    const Parameters parameters{means, quats, log_scales, logits};
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            vfloat mean[3], quat[4], log_scale[3], logit;
            parameters.load(i, count, mean, quat, log_scale, logit);
            projection::Shape<vfloat> s;
            projection::Image<vfloat> out;
            projection::shape(k, mean, quat, log_scale, logit, Machine{}, s);
            const vint seen = projection::image(k, s, Machine{}, out);
            const vfloat rows[9] = {out.x, out.y, out.conic[0], out.conic[1], out.conic[2],
                                    out.opacity, out.depth, out.extent[0], out.extent[1]};
            for (int r = 0; r < 9; ++r) store_first(image + r * n + i, seen ? rows[r] : splat(0.0f), count);
        }
    });
}

void gaussian_projection_backward(const float* means, const float* quats, const float* log_scales, const float* logits,
                                  i64 n, const float* camera, const float* image, const float* grad_means2d,
                                  i64 gm_stride_n, i64 gm_stride_k, const float* grad_conics, i64 gc_stride_n,
                                  i64 gc_stride_k, const float* grad_opacities, const float* grad_depths,
                                  float* grad_means, float* grad_quats, float* grad_log_scales, float* grad_logits,
                                  float* grad_camera, int n_threads) {
    const projection::Camera k = read(camera);
    const Parameters parameters{means, quats, log_scales, logits};
    const Rows up_means{grad_means2d, gm_stride_n, gm_stride_k}, up_conics{grad_conics, gc_stride_n, gc_stride_k};
    const i64 n_chunks = (n + kChunk - 1) / kChunk;
    const Scratch<float> sums(grad_camera ? n_chunks * kCamera : 1);
    parallel_for(n_chunks, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        vfloat total[kCamera]{};
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const vint seen = load_first(image + 5 * n + i, count) > 0.0f;
            projection::Gradients<vfloat> g{};
            if (any(seen)) {
                vfloat mean[3], quat[4], log_scale[3], logit;
                parameters.load(i, count, mean, quat, log_scale, logit);
                projection::Shape<vfloat> s;
                projection::Image<vfloat> out, up{};
                projection::shape(k, mean, quat, log_scale, logit, Machine{}, s);
                for (int r = 0; r < 3; ++r) out.conic[r] = load_first(image + (2 + r) * n + i, count);
                if (grad_means2d) {
                    up.x = up_means.load_lanes(i, 0, count);
                    up.y = up_means.load_lanes(i, 1, count);
                }
                if (grad_conics)
                    for (int r = 0; r < 3; ++r) up.conic[r] = up_conics.load_lanes(i, r, count);
                if (grad_opacities) up.opacity = load_first(grad_opacities + i, count);
                if (grad_depths) up.depth = load_first(grad_depths + i, count);
                projection::backward(k, mean, s, out, up, Machine{}, g);
                const auto only_seen = [&](vfloat* v, int length) {
                    for (int r = 0; r < length; ++r) v[r] = seen ? v[r] : splat(0.0f);
                };
                only_seen(g.mean, 3), only_seen(g.quat, 4), only_seen(g.log_scale, 3), only_seen(&g.logit, 1);
                only_seen(g.camera, kCamera);
                for (int r = 0; r < kCamera; ++r) total[r] += g.camera[r];
            }
            for (int r = 0; r < 3; ++r) store_strided(grad_means + 3 * i + r, 3, g.mean[r], count);
            for (int r = 0; r < 4; ++r) store_strided(grad_quats + 4 * i + r, 4, g.quat[r], count);
            for (int r = 0; r < 3; ++r) store_strided(grad_log_scales + 3 * i + r, 3, g.log_scale[r], count);
            store_first(grad_logits + i, g.logit, count);
        }
        if (grad_camera)
            for (int r = 0; r < kCamera; ++r) sums.data[chunk * kCamera + r] = lane_sum(total[r]);
    });
    if (!grad_camera) return;
    for (int r = 0; r < kCamera; ++r) {
        double sum = 0.0;
        for (i64 chunk = 0; chunk < n_chunks; ++chunk) sum += sums.data[chunk * kCamera + r];
        grad_camera[r] = float(sum);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
