// Blending over the samples of a cone on the GPU. Specialised on FEATURES (of a level) and ORDER (of the weight's
// derivative). Arrays as in level_blend.h; blocks of 128 x 1.
#include "level_blend.cuh"

using namespace neural;

struct Exp {
    __device__ __forceinline__ float operator()(float v) const { return expf(v); }
};

// 1/M factors w_l of sample i
__device__ float weight_of(const float* widths, const float* reach, const float* factors, i64 i, i64 l, i64 n_samples) {
    const float w = level::weight(widths[i], reach[l], ORDER, Exp{}) / float(int(n_samples));
    return factors ? w * factors[i] : w;
}

// x over points, y over levels
extern "C" __global__ void level_blend_forward(const float* __restrict__ features, i64 feat_n, i64 feat_k,
                                               const float* __restrict__ widths, const float* __restrict__ reach,
                                               const float* __restrict__ factors, i64 n, i64 n_samples, i64 n_levels,
                                               float* __restrict__ blended, i64 out_n, i64 out_k) {
    const i64 p = i64(blockIdx.x) * blockDim.x + threadIdx.x, l = blockIdx.y;
    if (p >= n) return;
    float sums[FEATURES] = {};
    for (i64 i = p * n_samples; i < (p + 1) * n_samples; ++i) {
        const float w = weight_of(widths, reach, factors, i, l, n_samples);
        for (int f = 0; f < FEATURES; ++f) sums[f] += w * features[i * feat_n + (l * FEATURES + f) * feat_k];
    }
    for (int f = 0; f < FEATURES; ++f) blended[p * out_n + (l * FEATURES + f) * out_k] = sums[f];
}

// x over samples, y over levels
extern "C" __global__ void level_blend_spread(const float* __restrict__ grad, i64 grad_n, i64 grad_k,
                                              const float* __restrict__ widths, const float* __restrict__ reach,
                                              const float* __restrict__ factors, i64 n, i64 n_samples, i64 n_levels,
                                              float* __restrict__ out, i64 out_n, i64 out_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, l = blockIdx.y;
    if (i >= n * n_samples) return;
    const float w = weight_of(widths, reach, factors, i, l, n_samples);
    const i64 p = i / n_samples;
    for (int f = 0; f < FEATURES; ++f) {
        const i64 k = l * FEATURES + f;
        out[i * out_n + k * out_k] = w * grad[p * grad_n + k * grad_k];
    }
}

// x over samples; a thread takes all levels
extern "C" __global__ void level_blend_dot(const float* __restrict__ features, i64 feat_n, i64 feat_k,
                                           const float* __restrict__ grad, i64 grad_n, i64 grad_k,
                                           const float* __restrict__ widths, const float* __restrict__ reach,
                                           const float* __restrict__ factors, i64 n, i64 n_samples, i64 n_levels,
                                           float* __restrict__ out) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n * n_samples) return;
    const i64 p = i / n_samples;
    float sum = 0.0f;
    for (i64 l = 0; l < n_levels; ++l) {
        float dot = 0.0f;
        for (int f = 0; f < FEATURES; ++f) {
            const i64 k = l * FEATURES + f;
            dot += features[i * feat_n + k * feat_k] * grad[p * grad_n + k * grad_k];
        }
        sum += weight_of(widths, reach, factors, i, l, n_samples) * dot;
    }
    out[i] = sum;
}
