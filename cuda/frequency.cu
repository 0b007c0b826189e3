// Frequency encoding on the GPU: x over positions, y over dimensions. Specialised on N_FREQUENCIES.
// Arrays as in frequency.h; launched as blocks of 128 x 1.
#include "frequency.cuh"

using namespace neural;

struct SinCosPi {
    __device__ __forceinline__ void operator()(float t, float& s, float& c) const { sincospif(t, &s, &c); }
};

extern "C" __global__ void frequency_forward(const float* positions, i64 pos_n, i64 pos_k, i64 n, float* out,
                                             i64 out_n, i64 out_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    frequency::each(positions[i * pos_n + d * pos_k], N_FREQUENCIES, SinCosPi{}, [&](i64 k, float s, float c, float) {
        float* p = out + i * out_n + 2 * (d * N_FREQUENCIES + k) * out_k;
        p[0] = s;
        p[out_k] = c;
    });
}

extern "C" __global__ void frequency_backward(const float* positions, i64 pos_n, i64 pos_k, const float* grad_out,
                                              i64 grad_n, i64 grad_k, i64 n, float* grad_positions, i64 gp_n,
                                              i64 gp_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    float total = 0.0f;
    frequency::each(positions[i * pos_n + d * pos_k], N_FREQUENCIES, SinCosPi{},
                    [&](i64 k, float s, float c, float rate) {
        const float* g = grad_out + i * grad_n + 2 * (d * N_FREQUENCIES + k) * grad_k;
        total += rate * (g[0] * c - g[grad_k] * s);
    });
    grad_positions[i * gp_n + d * gp_k] = total;
}

extern "C" __global__ void frequency_backward_backward(const float* positions, i64 pos_n, i64 pos_k,
                                                       const float* grad_out, i64 grad_n, i64 grad_k,
                                                       const float* second, i64 second_n, i64 second_k, i64 n,
                                                       float* grad_grad, i64 gg_n, i64 gg_k, float* grad_positions,
                                                       i64 gp_n, i64 gp_k) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, d = blockIdx.y;
    if (i >= n) return;
    const float v = second[i * second_n + d * second_k];
    float total = 0.0f;
    frequency::each(positions[i * pos_n + d * pos_k], N_FREQUENCIES, SinCosPi{},
                    [&](i64 k, float s, float c, float rate) {
        const i64 at = 2 * (d * N_FREQUENCIES + k);
        const float* g = grad_out + i * grad_n + at * grad_k;
        float* gg = grad_grad + i * gg_n + at * gg_k;
        gg[0] = rate * v * c;
        gg[gg_k] = -rate * v * s;
        total -= rate * rate * (g[0] * s + g[grad_k] * c);
    });
    grad_positions[i * gp_n + d * gp_k] = v * total;
}
