// Volume rendering of packed samples, per sample. With optical depth tau_i = density_i (t_end_i - t_start_i),
//   alpha_i = 1 - exp(-tau_i),   T_i = prod_{j<i} (1 - alpha_j),   w_i = T_i alpha_i  (0 once T_i < early_stop),
//   rgb = sum w_i color_i,   alpha = sum w_i,   depth = sum w_i (t_start_i + t_end_i) / 2.
// With G_i = dL/dw_i collected from all four outputs,
//   dL/dtau_i = G_i T_{i+1} - sum_{j>i} G_j w_j,   dL/dcolor_i = w_i dL/drgb.
// Source: N. Max, "Optical Models for Direct Volume Rendering", IEEE TVCG 1(2), 1995, eq. 10 in discrete form.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace composite {

// expm1(v) = e^v - 1
template <class V, class Expm1> NEURAL_HD V opacity(V density, V length, const Expm1& expm1) {
    return -expm1(-(density * length));
}

// `behind` is sum_{j>i} G_j w_j.
template <class V> NEURAL_HD V grad_density(V grad_weight, V after, V behind, V length) {
    return (grad_weight * after - behind) * length;
}

} // namespace composite
} // namespace neural
