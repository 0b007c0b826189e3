// Distortion loss on the GPU: one thread per ray, in the order of its samples; arrays as in distortion.h.
#include "distortion.cuh"

using namespace neural;

extern "C" __global__ void distortion_forward(const float* weights, const float* t_starts, const float* t_ends,
                                              const i64* packed_info, i64 n_rays, float* loss) {
    const i64 ray = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n_rays) return;
    const i64 start = packed_info[2 * ray], end = start + packed_info[2 * ray + 1];
    const float origin = start < end ? t_starts[start] : 0.0f;
    float front_w = 0.0f, front_m = 0.0f, total = 0.0f;
    for (i64 i = start; i < end; ++i) {
        const float w = weights[i], m = 0.5f * ((t_starts[i] - origin) + (t_ends[i] - origin));
        total += distortion::term(w, m, t_ends[i] - t_starts[i], front_w, front_m);
        front_w += w;
        front_m += w * m;
    }
    loss[ray] = total;
}

extern "C" __global__ void distortion_backward(const float* weights, const float* t_starts, const float* t_ends,
                                               const i64* packed_info, i64 n_rays, const float* grad_loss,
                                               float* grad_weights, float* grad_t_starts, float* grad_t_ends) {
    const i64 ray = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= n_rays) return;
    const i64 start = packed_info[2 * ray], end = start + packed_info[2 * ray + 1];
    const float origin = start < end ? t_starts[start] : 0.0f, g = grad_loss[ray];
    float total_w = 0.0f, total_m = 0.0f, front_w = 0.0f, front_m = 0.0f;
    for (i64 i = start; i < end; ++i) {
        total_w += weights[i];
        total_m += weights[i] * 0.5f * ((t_starts[i] - origin) + (t_ends[i] - origin));
    }
    for (i64 i = start; i < end; ++i) {
        const float w = weights[i], m = 0.5f * ((t_starts[i] - origin) + (t_ends[i] - origin));
        const float behind_w = total_w - front_w - w;
        grad_weights[i] = g * distortion::grad_weight(w, m, t_ends[i] - t_starts[i], front_w, front_m, behind_w,
                                                      total_m - front_m - w * m);
        if (grad_t_starts) {
            float a, b;
            distortion::grad_ends(w, front_w, behind_w, a, b);
            grad_t_starts[i] = g * a;
            grad_t_ends[i] = g * b;
        }
        front_w += w;
        front_m += w * m;
    }
}
