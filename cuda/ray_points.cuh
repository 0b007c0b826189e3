// Where packed samples lie: the point half way between t_start and t_end, and its share of the rays' gradients,
//   x = o + t d,   t = (t_start + t_end) / 2,   dL/do = sum dL/dx,   dL/dd = sum t dL/dx.
// V is float on a GPU and a vector of lanes on a CPU.
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace ray_points {

template <class V> NEURAL_HD V middle(V t_start, V t_end) { return (t_start + t_end) * 0.5f; }

} // namespace ray_points
} // namespace neural
