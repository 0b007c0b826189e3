// Adam inside the kernel that computes a gradient: the gradient is used where it is, and never reaches memory. GPU only.
#pragma once
#include "adam.cuh"

// One parameter as a kernel takes it, in the order of `ParameterStep.arguments` (adam_in_backward.py); all of it null
// where the parameter is not to be stepped.
#define ADAM_PARAMETERS(P)                                                                                            \
    float *P##_param, float *P##_exp_avg, float *P##_exp_avg_sq, i32 *P##_row_steps, i32 *P##_nonfinite,              \
        float P##_rate, float P##_inv_root, float P##_beta1, float P##_rest1, float P##_log1, float P##_beta2,        \
        float P##_rest2, float P##_log2, float P##_eps, float P##_l2, float P##_keep
#define ADAM_SLOT(P)                                                                                                  \
    adam::Slot {                                                                                                      \
        P##_param, P##_exp_avg, P##_exp_avg_sq, P##_row_steps, P##_nonfinite, {                                       \
            P##_rate, P##_inv_root, P##_beta1, P##_rest1, P##_log1, P##_beta2, P##_rest2, P##_log2, P##_eps, P##_l2,  \
                P##_keep, 1.0f, 0.0f, 0.0f, 0.0f                                                                      \
        }                                                                                                             \
    }

namespace neural {
namespace adam {

struct Pace { // of one row
    bool moves;
    float rate, inv_root;
};

struct Slot {
    float *param, *exp_avg, *exp_avg_sq;
    i32 *row_steps, *nonfinite; // row_steps: nullptr for a dense step
    Settings settings;

    __device__ __forceinline__ bool used() const { return param != nullptr; }

    // Begins the step of a row, once. any: an entry of its gradient is not zero.
    __device__ __forceinline__ Pace begin(i64 row, bool any) const {
        Pace pace{true, settings.rate, settings.inv_root};
        if (!row_steps) return pace;
        pace.moves = any;
        if (any)
            row_scales(settings, float(++row_steps[row]), pace.rate, pace.inv_root,
                       [](float v) { return expm1f(v); }, [](float v) { return sqrtf(v); });
        return pace;
    }

    __device__ __forceinline__ void move(i64 i, float grad, const Pace& pace) const {
        if (!(grad - grad == 0.0f)) {
            atomicAdd(nonfinite, 1);
            return;
        }
        float p = param[i], m = exp_avg[i], v = exp_avg_sq[i];
        update(settings, pace.rate, pace.inv_root, grad, p, m, v, [](float x) { return sqrtf(x); });
        param[i] = p, exp_avg[i] = m, exp_avg_sq[i] = v;
    }
};

// What becomes of the gradient of a row of N: it moves the parameter, or it is written.
template <int N> __device__ __forceinline__ void use(const Slot& slot, float* out, i64 row, const float (&grad)[N]) {
    if (!slot.used()) {
        for (int k = 0; k < N; ++k) out[N * row + k] = grad[k];
        return;
    }
    bool any = false;
    for (int k = 0; k < N; ++k) any = any || grad[k] != 0.0f;
    const Pace pace = slot.begin(row, any);
    if (pace.moves)
        for (int k = 0; k < N; ++k) slot.move(N * row + k, grad[k], pace);
}

} // namespace adam
} // namespace neural
