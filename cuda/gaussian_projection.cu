// Projection of Gaussians on the GPU: one thread per Gaussian. Arrays as in gaussian_projection.h. Specialised on MODEL
// (0 perspective, 1 orthographic, 2 opencv, 3 fisheye); launched as 1-D blocks of 128.
#include "adam_in_backward.cuh"
#include "common/block_sums.cuh"
#include "common/machine.cuh"
#include "gaussian_unscented.cuh"

using namespace neural;

#if MODEL == 2
typedef projection::Unscented<float, lens::OpenCV<float>, false> Form;
#elif MODEL == 3
typedef projection::Unscented<float, lens::Fisheye<float>, true> Form;
#else
typedef projection::Linear<float> Form;
#endif

// Pose, lens and settings, as all kernels here take them.
#define CAMERA_PARAMETERS                                                                                            \
    const float *w2c, const float *intrinsics, const float *distortion, float width, float height, float near_,      \
        float far_, float blur, float antialiased, float fold
#define CAMERA                                                                                                        \
    projection::camera_of(w2c, intrinsics, distortion, width, height, near_, far_, blur, antialiased != 0.0f, MODEL, fold)

extern "C" __global__ void gaussian_projection_forward(const float* means, const float* quats, const float* log_scales,
                                                       const float* logits, i64 n, CAMERA_PARAMETERS, float* image) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    projection::Image<float> out;
    const bool seen = projection::image<Form>(CAMERA, means + 3 * i, quats + 4 * i, log_scales + 3 * i,
                                              logits[i], Machine{}, out);
    const float rows[9] = {out.x, out.y, out.conic[0], out.conic[1], out.conic[2],
                           out.opacity, out.depth, out.extent[0], out.extent[1]};
    for (int r = 0; r < 9; ++r) image[r * n + i] = seen ? rows[r] : 0.0f;
}

// camera_sums: [blocks, 16], the sums of each block; nullptr: not wanted. other_grad_means: [n, 3], the part of the means'
// gradient that did not come through this projection; nullptr: none. Parameters are moved by their gradients where they
// come as ADAM_PARAMETERS; else these are written. *_penalty: d loss / d scale and opacity, beside the image's, where
// these are less than largest_*; of what is seen, and with *_unseen not 0 of all.
extern "C" __global__ void gaussian_projection_backward(
    const float* means, const float* quats, const float* log_scales, const float* logits, i64 n, CAMERA_PARAMETERS,
    const float* image, const float* grad_means2d, i64 gm_n, i64 gm_k, const float* grad_conics, i64 gc_n, i64 gc_k,
    const float* grad_opacities, const float* grad_depths, const float* other_grad_means, float* grad_means,
    float* grad_quats, float* grad_log_scales, float* grad_logits, float* camera_sums, float scale_penalty,
    float largest_scale, i64 scale_unseen, float opacity_penalty, float largest_opacity, i64 opacity_unseen,
    ADAM_PARAMETERS(means), ADAM_PARAMETERS(quats), ADAM_PARAMETERS(log_scales), ADAM_PARAMETERS(logits)) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    projection::Gradients<float> g{};
    const bool seen = i < n && image[5 * n + i] > 0.0f;
    if (seen) {
        projection::Image<float> up{};
        if (grad_means2d) up.x = grad_means2d[i * gm_n], up.y = grad_means2d[i * gm_n + gm_k];
        if (grad_conics)
            for (int r = 0; r < 3; ++r) up.conic[r] = grad_conics[i * gc_n + r * gc_k];
        if (grad_opacities) up.opacity = grad_opacities[i];
        if (grad_depths) up.depth = grad_depths[i];
        const float conic[3] = {image[2 * n + i], image[3 * n + i], image[4 * n + i]};
        projection::backward<Form>(CAMERA, means + 3 * i, quats + 4 * i, log_scales + 3 * i, logits[i],
                                   conic, up, Machine{}, g);
    }
    if (i < n) {
        for (int r = 0; r < 3 && scale_penalty != 0.0f && (seen || scale_unseen); ++r) {
            const float scale = expf(log_scales[3 * i + r]);
            if (scale < largest_scale) g.log_scale[r] += scale_penalty * scale;
        }
        if (opacity_penalty != 0.0f && (seen || opacity_unseen)) {
            const float opacity = 1.0f / (1.0f + expf(-logits[i]));
            if (opacity < largest_opacity) g.logit += opacity_penalty * opacity * (1.0f - opacity);
        }
        if (other_grad_means)
            for (int r = 0; r < 3; ++r) g.mean[r] += other_grad_means[3 * i + r];
        const float to_logit[1] = {g.logit};
        adam::use(ADAM_SLOT(means), grad_means, i, g.mean);
        adam::use(ADAM_SLOT(quats), grad_quats, i, g.quat);
        adam::use(ADAM_SLOT(log_scales), grad_log_scales, i, g.log_scale);
        adam::use(ADAM_SLOT(logits), grad_logits, i, to_logit);
    }
    if (camera_sums) block_sums(g.camera, camera_sums + 16 * i64(blockIdx.x));
}
