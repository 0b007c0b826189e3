// Projection of Gaussians on the CPU: lanes are Gaussians, chunks of rows over threads. The gradient of the camera is a
// sum over all Gaussians: each chunk has its own, added in the order of the chunks.
#include "gaussian_projection.h"
#include "common/features.h"
#include "gaussian_rows.h"
#include "gaussian_unscented.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

// Calls visit(form) with an object of the type that forms covariances for the camera's model.
template <class Visit> void with_form(int model, const Visit& visit) {
    switch (model) {
    case 2: return visit(projection::Unscented<vfloat, lens::OpenCV<vfloat>, false>{});
    case 3: return visit(projection::Unscented<vfloat, lens::Fisheye<vfloat>, true>{});
    default: return visit(projection::Linear<vfloat>{});
    }
}

template <class Form>
void forward(const GaussianRows& parameters, i64 n, const projection::Camera& k, float* image, int n_threads) {
    parallel_for((n + kProjectionChunk - 1) / kProjectionChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kProjectionChunk ? n : (chunk + 1) * kProjectionChunk;
        for (i64 i = chunk * kProjectionChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const GaussianLanes g = read(parameters, i, count);
            projection::Image<vfloat> out;
            const vint seen =
                projection::image<Form>(k, g.mean, g.quat, g.log_scale, g.logit, ProjectionMachine{}, out);
            const vfloat rows[9] = {out.x, out.y, out.conic[0], out.conic[1], out.conic[2],
                                    out.opacity, out.depth, out.extent[0], out.extent[1]};
            for (int r = 0; r < 9; ++r) store_first(image + r * n + i, seen ? rows[r] : splat(0.0f), count);
        }
    });
}

struct Upstream { // data is nullptr where there is none
    Rows means2d, conics;
    const float *opacities, *depths;

    NEURAL_HD projection::Image<vfloat> load(i64 i, int count) const {
        projection::Image<vfloat> up{};
        if (means2d.data) up.x = means2d.load_lanes(i, 0, count), up.y = means2d.load_lanes(i, 1, count);
        if (conics.data)
            for (int r = 0; r < 3; ++r) up.conic[r] = conics.load_lanes(i, r, count);
        if (opacities) up.opacity = load_first(opacities + i, count);
        if (depths) up.depth = load_first(depths + i, count);
        return up;
    }
};

template <class Form>
void backward(const GaussianRows& parameters, i64 n, const projection::Camera& k, const float* image,
              const Upstream& upstream, const GaussianRowsOut& grad, int n_threads) {
    const i64 n_chunks = (n + kProjectionChunk - 1) / kProjectionChunk;
    const Scratch<float> sums(n_chunks * kSums + 1);
    parallel_for(n_chunks, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kProjectionChunk ? n : (chunk + 1) * kProjectionChunk;
        vfloat total[kSums]{};
        for (i64 i = chunk * kProjectionChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const vint seen = load_first(image + 5 * n + i, count) > 0.0f;
            projection::Gradients<vfloat> g{};
            if (any(seen)) {
                const GaussianLanes x = read(parameters, i, count);
                const vfloat conic[3] = {load_first(image + 2 * n + i, count), load_first(image + 3 * n + i, count),
                                         load_first(image + 4 * n + i, count)};
                projection::backward<Form>(k, x.mean, x.quat, x.log_scale, x.logit, conic, upstream.load(i, count),
                                           ProjectionMachine{}, g);
                const auto only_seen = [&](vfloat* v, int length) {
                    for (int r = 0; r < length; ++r) v[r] = seen ? v[r] : splat(0.0f);
                };
                only_seen(g.mean, 3), only_seen(g.quat, 4), only_seen(g.log_scale, 3), only_seen(&g.logit, 1);
                if (grad.camera)
                    for (int r = 0; r < kSums; ++r) total[r] += seen ? g.camera[r] : splat(0.0f);
            }
            store_rows(grad.means + 3 * i, count, g.mean);
            store_rows(grad.quats + 4 * i, count, g.quat);
            store_rows(grad.log_scales + 3 * i, count, g.log_scale);
            store_first(grad.logits + i, g.logit, count);
        }
        for (int r = 0; r < kSums; ++r) sums.data[chunk * kSums + r] = lane_sum(total[r]);
    });
    if (grad.camera) add_chunks(sums.data, n_chunks, grad.camera);
}

} // namespace

void gaussian_projection_forward(const float* means, const float* quats, const float* log_scales, const float* logits,
                                 i64 n, const float* w2c, const float* intrinsics, const float* distortion,
                                 float width, float height, float near, float far, float blur, int antialiased,
                                 int model, float fold, float* image, int n_threads) {
    const projection::Camera camera = projection::camera_of(w2c, intrinsics, distortion, width, height, near, far, blur,
                                                            antialiased, model, fold);
    with_form(model, [&](auto form) {
        forward<decltype(form)>({means, quats, log_scales, logits}, n, camera, image, n_threads);
    });
}

void gaussian_projection_backward(const float* means, const float* quats, const float* log_scales, const float* logits,
                                  i64 n, const float* w2c, const float* intrinsics, const float* distortion,
                                  float width, float height, float near, float far, float blur, int antialiased,
                                  int model, float fold, const float* image, const float* grad_means2d,
                                  i64 gm_stride_n, i64 gm_stride_k, const float* grad_conics, i64 gc_stride_n,
                                  i64 gc_stride_k, const float* grad_opacities, const float* grad_depths,
                                  float* grad_means, float* grad_quats, float* grad_log_scales, float* grad_logits,
                                  float* grad_camera, int n_threads) {
    const projection::Camera camera = projection::camera_of(w2c, intrinsics, distortion, width, height, near, far, blur,
                                                            antialiased, model, fold);
    const Upstream upstream{{grad_means2d, gm_stride_n, gm_stride_k}, {grad_conics, gc_stride_n, gc_stride_k},
                            grad_opacities, grad_depths};
    const GaussianRowsOut grad{grad_means, grad_quats, grad_log_scales, grad_logits, grad_camera};
    with_form(model, [&](auto form) {
        backward<decltype(form)>({means, quats, log_scales, logits}, n, camera, image, upstream, grad, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
