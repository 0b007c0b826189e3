// Colours of Gaussians on the CPU: the basis with Gaussians as lanes, their coefficients row by row (48 floats in a row,
// which no gather could read as quickly). Chunks of rows over threads; the centre's gradient is summed by chunks.
#include "gaussian_color.h"
#include "common/features.h"
#include "common/scan.h"
#include "common/threads.h"
#include "gaussian_color.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 2048; // rows per task

struct Machine {
    NEURAL_HD vfloat sqrt(vfloat v) const { return NEURAL_ISA::sqrt(v); }
    NEURAL_HD vfloat choose(vint mask, vfloat a, vfloat b) const { return mask ? a : b; }
};

// Lanes that are wanted, as bits.
NEURAL_HD u32 wanted(const float* opacities, i64 i, int count) {
    if (!opacities) return (1u << count) - 1u;
    u32 bits = 0;
    for (int lane = 0; lane < count; ++lane) bits |= u32(opacities[i + lane] > 0.0f) << lane;
    return bits;
}

NEURAL_HD gaussian_color::Direction<vfloat> direction(const float* means, const float* centre, i64 i, int count) {
    vfloat mean[3];
    for (int k = 0; k < 3; ++k) mean[k] = load_strided(means + 3 * i + k, 3, count);
    return gaussian_color::direction(mean, centre, Machine{});
}

template <int Degree>
void forward(const float* means, const float* centre, const float* sh0, const float* shN, i64 n, i64 n_coefficients,
             const float* opacities, float* colors, int n_threads) {
    constexpr int kUsed = (Degree + 1) * (Degree + 1) - 1;
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        alignas(64) float basis[(kUsed + 1) * kWidth], out[3][kWidth];
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const u32 bits = wanted(opacities, i, count);
            for (int c = 0; c < 3; ++c) store(out[c], splat(0.0f));
            if (bits && Degree > 0) {
                const auto at = direction(means, centre, i, count);
                sh::evaluate<Degree + 1>(at.d[0], at.d[1], at.d[2],
                                         [&](int k, vfloat value) { store(basis + k * kWidth, value); });
            }
            for (u32 left = bits; left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                const float *first = sh0 + 3 * (i + lane), *rest = shN + 3 * n_coefficients * (i + lane);
                float rgb[3];
                for (int c = 0; c < 3; ++c) rgb[c] = 0.5f + gaussian_color::kY0 * first[c];
                for (int k = 0; k < kUsed; ++k)
                    for (int c = 0; c < 3; ++c) rgb[c] += basis[(k + 1) * kWidth + lane] * rest[3 * k + c];
                for (int c = 0; c < 3; ++c) out[c][lane] = rgb[c] > 0.0f ? rgb[c] : 0.0f;
            }
            for (int c = 0; c < 3; ++c) store_first(colors + c * n + i, load(out[c]), count);
        }
    });
}

struct Outputs { // nullptr: not wanted
    float *means, *sh0, *shN, *centre;
};

template <int Degree>
void backward(const float* means, const float* centre, const float* shN, i64 n, i64 n_coefficients,
              const float* opacities, const float* colors, Rows grad_colors, Outputs grad, int n_threads) {
    constexpr int kUsed = (Degree + 1) * (Degree + 1) - 1;
    const i64 n_chunks = (n + kChunk - 1) / kChunk;
    const Scratch<float> sums(3 * n_chunks + 1);
    parallel_for(n_chunks, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        alignas(64) float basis[(kUsed + 1) * kWidth], up[3][kWidth], slopes[(kUsed + 1) * kWidth];
        vfloat total[3]{};
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const u32 bits = wanted(opacities, i, count);
            gaussian_color::Direction<vfloat> at{};
            if (bits) {
                for (int c = 0; c < 3; ++c) {
                    const vfloat shown = load_first(colors + c * n + i, count);
                    store(up[c], shown > 0.0f ? grad_colors.load_lanes(i, c, count) : splat(0.0f));
                }
                for (int k = 0; k <= kUsed; ++k) store(slopes + k * kWidth, splat(0.0f));
                if (Degree > 0) {
                    at = direction(means, centre, i, count);
                    sh::evaluate<Degree + 1>(at.d[0], at.d[1], at.d[2],
                                             [&](int k, vfloat value) { store(basis + k * kWidth, value); });
                }
            }
            for (int lane = 0; lane < count; ++lane) {
                const bool on = bits >> lane & 1;
                const float g[3] = {on ? up[0][lane] : 0.0f, on ? up[1][lane] : 0.0f, on ? up[2][lane] : 0.0f};
                for (int c = 0; c < 3; ++c) grad.sh0[3 * (i + lane) + c] = gaussian_color::kY0 * g[c];
                if (on)
                    for (int k = 0; k < kUsed; ++k) {
                        const float* s = shN + 3 * (n_coefficients * (i + lane) + k);
                        slopes[(k + 1) * kWidth + lane] = s[0] * g[0] + s[1] * g[1] + s[2] * g[2];
                    }
                if (!grad.shN) continue;
                float* rest = grad.shN + 3 * n_coefficients * (i + lane);
                for (int k = 0; k < kUsed; ++k)
                    for (int c = 0; c < 3; ++c) rest[3 * k + c] = on ? basis[(k + 1) * kWidth + lane] * g[c] : 0.0f;
                for (i64 k = 3 * kUsed; k < 3 * n_coefficients; ++k) rest[k] = 0.0f;
            }
            vfloat to_mean[3]{};
            if (bits && Degree > 0) {
                vfloat to_direction[3];
                sh::gradient<Degree + 1>(at.d[0], at.d[1], at.d[2],
                                         [&](int k) { return load(slopes + k * kWidth); }, to_direction);
                gaussian_color::through_direction(at, to_direction, to_mean);
            }
            for (int k = 0; k < 3; ++k) {
                store_strided(grad.means + 3 * i + k, 3, to_mean[k], count);
                total[k] += to_mean[k];
            }
        }
        for (int k = 0; k < 3; ++k) sums.data[3 * chunk + k] = lane_sum(total[k]);
    });
    if (!grad.centre) return;
    for (int k = 0; k < 3; ++k) {
        double sum = 0.0;
        for (i64 chunk = 0; chunk < n_chunks; ++chunk) sum -= sums.data[3 * chunk + k];
        grad.centre[k] = float(sum);
    }
}

template <class Visit> void with_degree(int degree, const Visit& visit) {
    switch (degree) {
    case 0: return visit(Constant<0>{});
    case 1: return visit(Constant<1>{});
    case 2: return visit(Constant<2>{});
    default: return visit(Constant<3>{});
    }
}

} // namespace

void gaussian_color_forward(const float* means, const float* centre, const float* sh0, const float* shN, i64 n,
                            i64 n_coefficients, int degree, const float* opacities, float* colors, int n_threads) {
    with_degree(degree, [&](auto d) {
        forward<decltype(d)::value>(means, centre, sh0, shN, n, n_coefficients, opacities, colors, n_threads);
    });
}

void gaussian_color_backward(const float* means, const float* centre, const float* shN, i64 n, i64 n_coefficients,
                             int degree, const float* opacities, const float* colors, const float* grad_colors,
                             i64 stride_n, i64 stride_k, float* grad_means, float* grad_sh0, float* grad_shN,
                             float* grad_centre, int n_threads) {
    with_degree(degree, [&](auto d) {
        backward<decltype(d)::value>(means, centre, shN, n, n_coefficients, opacities, colors,
                                     {grad_colors, stride_n, stride_k}, {grad_means, grad_sh0, grad_shN, grad_centre},
                                     n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
