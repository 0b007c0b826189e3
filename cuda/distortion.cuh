// Distortion loss of one ray's weights w_i on intervals [a_i, b_i] with middles m_i and lengths D_i:
//   L = sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 D_i  =  sum_i ( 2 w_i (m_i W_i - M_i) + 1/3 w_i^2 D_i )
// where W_i, M_i are the sums of w and w m over the samples in front of i (samples ascend). With W'_i, M'_i those
// behind i,
//   dL/dw_i = 2 (m_i W_i - M_i) + 2 (M'_i - m_i W'_i) + 2/3 w_i D_i,   dL/dm_i = 2 w_i (W_i - W'_i),   dL/dD_i = w_i^2/3.
// Middles are measured from the ray's first t_start, which changes nothing but keeps the differences' digits.
// Source: J. Barron et al. 2022, arXiv:2111.12077, eq. 15; sums as in C. Sun et al. 2022, arXiv:2206.05085.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace distortion {

template <class V> NEURAL_HD V term(V w, V m, V length, V front_w, V front_m) {
    return w * (2.0f * (m * front_w - front_m) + w * length * (1.0f / 3.0f));
}
template <class V> NEURAL_HD V grad_weight(V w, V m, V length, V front_w, V front_m, V behind_w, V behind_m) {
    return 2.0f * (m * (front_w - behind_w) - front_m + behind_m) + w * length * (2.0f / 3.0f);
}
// Gradients to a and b, where m = (a + b) / 2 and D = b - a.
template <class V> NEURAL_HD void grad_ends(V w, V front_w, V behind_w, V& a, V& b) {
    const V middle = w * (front_w - behind_w), length = w * w * (1.0f / 3.0f);
    a = middle - length;
    b = middle + length;
}

} // namespace distortion
} // namespace neural
