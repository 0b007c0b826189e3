// Encodings of single coordinates on the GPU: x over positions, y over dimensions. Specialised on KIND (0 triangle
// wave, 1 one-blob) and N_PER_AXIS. Arrays as in axis_encoding.h; launched as blocks of 128 x 1.
#include "axis_encoding.cuh"

using namespace neural;

struct Floor {
    __device__ __forceinline__ float operator()(float t) const { return floorf(t); }
};

extern "C" __global__ void axis_encoding_forward(const float* positions, i64 pos_n, i64 pos_k, i64 n, float* out,
                                                 i64 out_n, i64 out_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    axis::each<KIND>(positions[i * pos_n + d * pos_k], N_PER_AXIS, Floor{}, [&](i64 k, float value, float, float) {
        out[i * out_n + (d * N_PER_AXIS + k) * out_k] = value;
    });
}

extern "C" __global__ void axis_encoding_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad,
                                                  i64 grad_n, i64 grad_k, i64 n, float* grad_positions, i64 gp_n,
                                                  i64 gp_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    float total = 0.0f;
    axis::each<KIND>(positions[i * pos_n + d * pos_k], N_PER_AXIS, Floor{}, [&](i64 k, float, float slope, float) {
        total += slope * grad[i * grad_n + (d * N_PER_AXIS + k) * grad_k];
    });
    grad_positions[i * gp_n + d * gp_k] = total;
}

extern "C" __global__ void axis_encoding_backward_backward(const float* positions, i64 pos_n, i64 pos_k,
                                                           const float* grad, i64 grad_n, i64 grad_k,
                                                           const float* second, i64 second_n, i64 second_k, i64 n,
                                                           float* grad_grad, i64 gg_n, i64 gg_k,
                                                           float* grad_positions, i64 gp_n, i64 gp_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    const float v = second[i * second_n + d * second_k];
    float total = 0.0f;
    axis::each<KIND>(positions[i * pos_n + d * pos_k], N_PER_AXIS, Floor{}, [&](i64 k, float, float slope, float bend) {
        const i64 at = d * N_PER_AXIS + k;
        grad_grad[i * gg_n + at * gg_k] = slope * v;
        total += bend * grad[i * grad_n + at * grad_k];
    });
    grad_positions[i * gp_n + d * gp_k] = v * total;
}
