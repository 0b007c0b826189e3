// Spherical harmonics on the CPU: one vector of directions at a time, chunks of rows over threads.
#include "spherical_harmonics.h"
#include "common/vectors.h"
#include "spherical_harmonics.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

template <int Degree> void forward(Rows directions, i64 n, RowsOut out, int n_threads) {
    for_each_vector(n, n_threads, [&](i64 i, int count) {
        sh::evaluate<Degree>(directions.load_lanes(i, 0, count), directions.load_lanes(i, 1, count),
                             directions.load_lanes(i, 2, count),
                             [&](int k, vfloat value) { out.store_lanes(i, k, value, count); });
    });
}

template <int Degree> void backward(Rows directions, Rows grad_out, i64 n, RowsOut grad, int n_threads) {
    for_each_vector(n, n_threads, [&](i64 i, int count) {
        vfloat g[3];
        sh::gradient<Degree>(directions.load_lanes(i, 0, count), directions.load_lanes(i, 1, count),
                             directions.load_lanes(i, 2, count), [&](int k) { return grad_out.load_lanes(i, k, count); },
                             g);
        for (int k = 0; k < 3; ++k) grad.store_lanes(i, k, g[k], count);
    });
}

// Calls visit(Constant<degree>) for the run-time degree in 1 .. 8.
template <int Degree = 1, class Visit> void with_degree(int degree, const Visit& visit) {
    if constexpr (Degree <= sh::kMaxDegree) {
        if (degree == Degree) visit(Constant<Degree>{});
        else with_degree<Degree + 1>(degree, visit);
    }
}

} // namespace

void spherical_harmonics_forward(const float* directions, i64 dir_stride_n, i64 dir_stride_k, i64 n, int degree,
                                 float* out, i64 out_stride_n, i64 out_stride_k, int n_threads) {
    with_degree(degree, [&](auto d) {
        forward<decltype(d)::value>({directions, dir_stride_n, dir_stride_k}, n, {out, out_stride_n, out_stride_k},
                                    n_threads);
    });
}

void spherical_harmonics_backward(const float* directions, i64 dir_stride_n, i64 dir_stride_k, const float* grad_out,
                                  i64 grad_stride_n, i64 grad_stride_k, i64 n, int degree, float* grad_directions,
                                  i64 gd_stride_n, i64 gd_stride_k, int n_threads) {
    with_degree(degree, [&](auto d) {
        backward<decltype(d)::value>({directions, dir_stride_n, dir_stride_k},
                                     {grad_out, grad_stride_n, grad_stride_k}, n,
                                     {grad_directions, gd_stride_n, gd_stride_k}, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
