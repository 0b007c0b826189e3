// Blending on the GPU; arrays as in cell_blend.h. 1-D blocks over points or pairs, y over features; the gradient of the
// weights takes one thread per entry, which sums over features in order.
#include "common/platform.cuh"

using namespace neural;

extern "C" __global__ void cell_blend_forward(const float* features, i64 feat_n, i64 feat_k, const i32* places,
                                              const float* weights, i64 n_points, i64 slots, float* out, i64 out_n,
                                              i64 out_k) {
    const i64 n = i64(blockIdx.x) * blockDim.x + threadIdx.x, k = blockIdx.y;
    if (n >= n_points) return;
    float sum = 0.0f;
    for (i64 e = n * slots; e < (n + 1) * slots; ++e)
        if (places[e] >= 0) sum += (weights ? weights[e] : 1.0f) * features[places[e] * feat_n + k * feat_k];
    out[n * out_n + k * out_k] = sum;
}

extern "C" __global__ void cell_blend_backward_features(const float* grad, i64 grad_n, i64 grad_k, const i32* places,
                                                        const float* weights, i64 n_points, i64 slots, float* out,
                                                        i64 out_n, i64 out_k) {
    const i64 n = i64(blockIdx.x) * blockDim.x + threadIdx.x, k = blockIdx.y;
    if (n >= n_points) return;
    const float g = grad[n * grad_n + k * grad_k];
    for (i64 e = n * slots; e < (n + 1) * slots; ++e)
        if (places[e] >= 0) out[places[e] * out_n + k * out_k] = weights ? weights[e] * g : g;
}

extern "C" __global__ void cell_blend_backward_weights(const float* grad, i64 grad_n, i64 grad_k, const float* features,
                                                       i64 feat_n, i64 feat_k, i64 n_features, const i32* places,
                                                       i64 n_points, i64 slots, float* out) {
    const i64 e = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (e >= n_points * slots) return;
    float sum = 0.0f;
    for (i64 k = 0; places[e] >= 0 && k < n_features; ++k)
        sum += grad[e / slots * grad_n + k * grad_k] * features[places[e] * feat_n + k * feat_k];
    out[e] = sum;
}
