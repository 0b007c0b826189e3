// Colours of Gaussians on the GPU: one thread per Gaussian. Arrays as in gaussian_color.h. Specialised on DEGREE (0 to 3);
// launched as 1-D blocks of 128.
#include "common/block_sums.cuh"
#include "common/machine.cuh"
#include "gaussian_color.cuh"

using namespace neural;

constexpr int kBasis = (DEGREE + 1) * (DEGREE + 1);

extern "C" __global__ void gaussian_color_forward(const float* means, const float* centre, const float* sh0,
                                                  const float* shN, i64 n, i64 n_coefficients, const float* opacities,
                                                  float* colors) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float rgb[3] = {};
    bool shown = !opacities || opacities[i] > 0.0f;
    if (shown) {
        const auto at = gaussian_color::direction(means + 3 * i, centre, Machine{});
        for (int c = 0; c < 3; ++c) rgb[c] = 0.5f + gaussian_color::kY0 * sh0[3 * i + c];
        const float* rest = shN + 3 * n_coefficients * i - 3;
        sh::evaluate<DEGREE + 1>(at.d[0], at.d[1], at.d[2], [&](int k, float value) {
            if (k > 0)
                for (int c = 0; c < 3; ++c) rgb[c] += value * rest[3 * k + c];
        });
        for (int c = 0; c < 3; ++c) shown = shown && fabsf(rgb[c]) < gaussian_color::kBrightest;
    }
    for (int c = 0; c < 3; ++c) colors[c * n + i] = shown && rgb[c] > 0.0f ? rgb[c] : 0.0f;
}

// mean_sums: [blocks, 3], the sums of each block over the gradients to means; nullptr: not wanted.
extern "C" __global__ void gaussian_color_backward(const float* means, const float* centre, const float* shN, i64 n,
                                                   i64 n_coefficients, const float* opacities, const float* colors,
                                                   const float* grad_colors, i64 stride_n, i64 stride_k,
                                                   float* grad_means, float* grad_sh0, float* grad_shN,
                                                   float* mean_sums) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    float to_mean[3] = {};
    if (i < n) {
        float g[3] = {};
        if (!opacities || opacities[i] > 0.0f)
            for (int c = 0; c < 3; ++c)
                if (colors[c * n + i] > 0.0f) g[c] = grad_colors[i * stride_n + c * stride_k];
        const bool shown = g[0] != 0.0f || g[1] != 0.0f || g[2] != 0.0f;
        float* to_rest = grad_shN ? grad_shN + 3 * n_coefficients * i - 3 : nullptr;
        if (shown && DEGREE > 0) {
            const float* rest = shN + 3 * n_coefficients * i - 3;
            const auto at = gaussian_color::direction(means + 3 * i, centre, Machine{});
            if (to_rest)
                sh::evaluate<DEGREE + 1>(at.d[0], at.d[1], at.d[2], [&](int k, float value) {
                    if (k > 0)
                        for (int c = 0; c < 3; ++c) to_rest[3 * k + c] = value * g[c];
                });
            float to_direction[3];
            sh::gradient<DEGREE + 1>(at.d[0], at.d[1], at.d[2], [&](int k) {
                return k > 0 ? rest[3 * k] * g[0] + rest[3 * k + 1] * g[1] + rest[3 * k + 2] * g[2] : 0.0f;
            }, to_direction);
            gaussian_color::through_direction(at, to_direction, to_mean);
        }
        for (int c = 0; c < 3; ++c) {
            grad_means[3 * i + c] = to_mean[c];
            grad_sh0[3 * i + c] = gaussian_color::kY0 * g[c];
        }
        if (to_rest)
            for (i64 k = 3 * (shown ? kBasis : 1); k < 3 * (n_coefficients + 1); ++k) to_rest[k] = 0.0f;
    }
    if (mean_sums) block_sums(to_mean, mean_sums + 3 * i64(blockIdx.x));
}
