// Adam, per element. With g = grad_scale grad + l2 p and the step count t (the parameter's or, lazy, the row's own),
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2,
//   p = (1 - lr weight_decay) p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps),
// and for the averaged copy  ema = d ema + (1 - d) p.
// Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; decoupled decay: Loshchilov and Hutter 2019,
// arXiv:1711.05101, algorithm 2; a step counter per row: tiny-cuda-nn's default for tables.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace adam {

constexpr int kBlockRows = 64;               // rows per touched bit
constexpr int kWordRows = 64 * kBlockRows;   // rows per word of touched bits

enum CopyKind { kNoCopy = 0, kFp16 = 1, kBf16 = 2 };

struct Settings {
    float rate, inv_root;                           // dense: lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t); lazy: lr, 1
    float beta1, rest1, log1, beta2, rest2, log2;   // beta, 1 - beta, ln beta
    float eps, l2, keep, grad_scale;                // keep = 1 - lr weight_decay
    float ema, ema_rest, log_ema;                   // d, 1 - d, ln d
};

template <class V, class Sqrt>
NEURAL_HD void update(const Settings& s, V rate, V inv_root, V grad, V& p, V& m, V& v, const Sqrt& sqrt) {
    const V g = grad * s.grad_scale + p * s.l2;
    m = m * s.beta1 + g * s.rest1;
    v = v * s.beta2 + g * g * s.rest2;
    p = p * s.keep - rate * m / (sqrt(v) * inv_root + s.eps);
}

// rate and inv_root of a row that makes its t-th step.
template <class V, class Expm1, class Sqrt>
NEURAL_HD void row_scales(const Settings& s, V t, V& rate, V& inv_root, const Expm1& expm1, const Sqrt& sqrt) {
    rate = -s.rate / expm1(V(t * s.log1));
    inv_root = 1.0f / sqrt(V(-expm1(V(t * s.log2))));
}

} // namespace adam
} // namespace neural
