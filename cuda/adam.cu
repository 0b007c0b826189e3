// Adam on the GPU: one thread per row. Specialised on FEATURES (values per row; 1 for a dense step) and LAZY (0, 1).
// Arrays as in adam.h; bits of `touched` are read only (the caller clears them after the launch).
#include "adam.cuh"
#include "common/half.cuh"

using namespace neural;

extern "C" __global__ void adam_step(float* param, float* grad, float* exp_avg, float* exp_avg_sq, i64 n_rows,
                                     i64 step, i32* row_steps, const i64* touched, const i32* places, u16* copy, i64 copy_kind, float* ema,
                                     i32* ema_steps, i32* nonfinite, i64 clear_grad, float rate, float inv_root,
                                     float beta1, float rest1, float log1, float beta2, float rest2, float log2,
                                     float eps, float l2, float keep, float grad_scale, float ema_decay,
                                     float ema_rest, float log_ema) {
    const i64 row = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (row >= n_rows) return;
    const adam::Settings s{rate, inv_root, beta1, rest1, log1, beta2, rest2, log2, eps, l2, keep, grad_scale,
                           ema_decay, ema_rest, log_ema};
    float own_rate = rate, own_root = inv_root, late = 1.0f;
    const i64 first = row * FEATURES;
    if (LAZY) {
        if (touched && !(u64(touched[row / adam::kWordRows]) >> (row / adam::kBlockRows % 64) & 1)) return;
        if (places) { // the gradient has rows of touched blocks only
            const i64 block = row / adam::kBlockRows;
            grad += (places[block] - block) * adam::kBlockRows * FEATURES;
        }
        bool any = false;
        for (i64 i = first; i < first + FEATURES; ++i) any = any || grad[i] != 0.0f;
        if (!any) return;
        const i32 t = ++row_steps[row];
        adam::row_scales(s, float(t), own_rate, own_root, [](float v) { return expm1f(v); },
                         [](float v) { return sqrtf(v); });
        if (ema_steps) {
            const i64 since = step - 1 - ema_steps[row];
            if (since > 0) late = expf(float(since) * s.log_ema);
            ema_steps[row] = i32(step);
        }
    }
    for (i64 i = first; i < first + FEATURES; ++i) {
        const float g = grad[i], old = param[i];
        float p = old;
        if (g - g == 0.0f) {
            float m = exp_avg[i], v = exp_avg_sq[i];
            adam::update(s, own_rate, own_root, g, p, m, v, [](float x) { return sqrtf(x); });
            param[i] = p;
            exp_avg[i] = m;
            exp_avg_sq[i] = v;
        } else if (nonfinite) {
            atomicAdd(nonfinite, 1);
        }
        if (clear_grad) grad[i] = 0.0f;
        if (copy_kind == adam::kFp16) copy[i] = to_fp16(p);
        if (copy_kind == adam::kBf16) copy[i] = to_bf16(p);
        if (ema) ema[i] = (old + late * (ema[i] - old)) * s.ema + p * s.ema_rest;
    }
}
