// Metric maps on the GPU: x over positions, y over dimensions. Specialised on KIND (metric_maps::Kind).
// Arrays as in metric_maps.h; launched as blocks of 128 x 1.
#include "metric_maps.cuh"

using namespace neural;

struct Math {
    static __device__ __forceinline__ void sincos(float v, float& s, float& c) {
        s = sinf(v);
        c = cosf(v);
    }
    static __device__ __forceinline__ float asin(float v) { return asinf(v); }
    static __device__ __forceinline__ float sqrt(float v) { return sqrtf(v); }
};

extern "C" __global__ void metric_maps_forward(const float* positions, i64 pos_n, i64 pos_k, i64 n, float* out,
                                               i64 out_n, i64 out_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    metric_maps::each<KIND, Math>(positions[i * pos_n + d * pos_k], [&](i64 k, auto jet) {
        out[(k * n + i) * out_n + d * out_k] = jet.value;
    });
}

extern "C" __global__ void metric_maps_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad_out,
                                                i64 go_n, i64 go_k, i64 n, float* grad_positions, i64 gp_n,
                                                i64 gp_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    float total = 0.0f;
    metric_maps::each<KIND, Math>(positions[i * pos_n + d * pos_k], [&](i64 k, auto jet) {
        total += grad_out[(k * n + i) * go_n + d * go_k] * jet.first;
    });
    grad_positions[i * gp_n + d * gp_k] = total;
}

extern "C" __global__ void metric_maps_backward_backward(const float* positions, i64 pos_n, i64 pos_k,
                                                         const float* grad_out, i64 go_n, i64 go_k,
                                                         const float* second, i64 second_n, i64 second_k, i64 n,
                                                         float* to_grad, i64 tg_n, i64 tg_k, float* to_positions,
                                                         i64 tp_n, i64 tp_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    const float along = second[i * second_n + d * second_k];
    float total = 0.0f;
    metric_maps::each<KIND, Math>(positions[i * pos_n + d * pos_k], [&](i64 k, auto jet) {
        total += grad_out[(k * n + i) * go_n + d * go_k] * jet.second;
        to_grad[(k * n + i) * tg_n + d * tg_k] = along * jet.first;
    });
    to_positions[i * tp_n + d * tp_k] = along * total;
}
