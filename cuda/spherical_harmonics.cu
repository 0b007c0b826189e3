// Spherical harmonics on the GPU: one thread per direction. Specialised on DEGREE (1 .. 8).
// directions [n, 3] and features [n, DEGREE^2], fp32, any strides; launched as 1-D blocks of 128.
#include "spherical_harmonics.cuh"

using namespace neural;

extern "C" __global__ void spherical_harmonics_forward(const float* directions, i64 dir_n, i64 dir_k, i64 n, float* out,
                                                       i64 out_n, i64 out_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* d = directions + i * dir_n;
    sh::evaluate<DEGREE>(d[0], d[dir_k], d[2 * dir_k], [&](int k, float value) { out[i * out_n + k * out_k] = value; });
}

extern "C" __global__ void spherical_harmonics_backward(const float* directions, i64 dir_n, i64 dir_k,
                                                        const float* grad_out, i64 grad_n, i64 grad_k, i64 n,
                                                        float* grad_directions, i64 gd_n, i64 gd_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* d = directions + i * dir_n;
    float g[3];
    sh::gradient<DEGREE>(d[0], d[dir_k], d[2 * dir_k], [&](int k) { return grad_out[i * grad_n + k * grad_k]; }, g);
    for (int k = 0; k < 3; ++k) grad_directions[i * gd_n + k * gd_k] = g[k];
}
