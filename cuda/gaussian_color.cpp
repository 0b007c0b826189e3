// Colours of Gaussians on the CPU: lanes are Gaussians, forward turns their coefficients from rows to lanes in blocks.
// Chunks of rows over threads; the centre's gradient is a sum over all Gaussians, added in the order of the chunks.
#include "gaussian_color.h"
#include "common/features.h"
#include "common/interleave.h"
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

struct Scene {
    const float *means, *centre, *shN, *opacities;
    i64 n, n_coefficients;

    // Which of the lanes are wanted.
    NEURAL_HD vint wanted(i64 i, int count) const {
        if (opacities) return load_first(opacities + i, count) > 0.0f;
        return lane_indices() < count;
    }
    template <int Degree> NEURAL_HD gaussian_color::Direction<vfloat> basis(i64 i, int count, vfloat* values) const {
        vfloat mean[3];
        load_rows(means + 3 * i, count, mean);
        const auto at = gaussian_color::direction(mean, centre, Machine{});
        sh::evaluate<Degree + 1>(at.d[0], at.d[1], at.d[2], [&](int k, vfloat value) { values[k] = value; });
        return at;
    }
    // Calls visit(k, c, lanes) for coefficients k = 1 .. n_used and channels c of the Gaussians from i on.
    template <int N, class Visit> NEURAL_HD void coefficients(i64 i, int count, const Visit& visit) const {
        NEURAL_UNROLL
        for (int block = 0; block < N; block += kWidth) {
            vfloat rows[kWidth];
            const float* p = shN + 3 * n_coefficients * i + block;
            for (int lane = 0; lane < kWidth; ++lane)
                rows[lane] = lane < count ? load_first(p + 3 * n_coefficients * lane, N - block) : splat(0.0f);
            transpose(rows);
            NEURAL_UNROLL
            for (int j = 0; j < kWidth; ++j)
                if (block + j < N) visit((block + j) / 3 + 1, (block + j) % 3, rows[j]);
        }
    }
};

NEURAL_HD bool any(vint mask) {
    i32 found = 0;
    for (int i = 0; i < kWidth; ++i) found |= mask[i];
    return found != 0;
}

template <int Degree> void forward(const Scene& scene, const float* sh0, float* colors, int n_threads) {
    constexpr int kUsed = 3 * ((Degree + 1) * (Degree + 1) - 1);
    const i64 n = scene.n;
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const vint wanted = scene.wanted(i, count);
            vfloat rgb[3] = {};
            if (any(wanted)) {
                load_rows(sh0 + 3 * i, count, rgb);
                for (int c = 0; c < 3; ++c) rgb[c] = 0.5f + gaussian_color::kY0 * rgb[c];
                if constexpr (Degree > 0) {
                    vfloat basis[(Degree + 1) * (Degree + 1)];
                    scene.basis<Degree>(i, count, basis);
                    scene.coefficients<kUsed>(i, count, [&](int k, int c, vfloat v) { rgb[c] += basis[k] * v; });
                }
            }
            const vint finite = (abs(rgb[0]) < gaussian_color::kBrightest) & (abs(rgb[1]) < gaussian_color::kBrightest) &
                                (abs(rgb[2]) < gaussian_color::kBrightest);
            for (int c = 0; c < 3; ++c)
                store_first(colors + c * n + i, wanted & finite & (rgb[c] > 0.0f) ? rgb[c] : splat(0.0f), count);
        }
    });
}

struct Outputs { // shN, centre: nullptr where not wanted
    float *means, *sh0, *shN, *centre;
};

template <int Degree>
void backward(const Scene& scene, const float* colors, Rows grad_colors, const Outputs& grad, int n_threads) {
    constexpr int kBasis = (Degree + 1) * (Degree + 1), kUsed = 3 * (kBasis - 1);
    const i64 n = scene.n, stride = 3 * scene.n_coefficients, n_chunks = (n + kChunk - 1) / kChunk;
    const Scratch<float> sums(3 * n_chunks + 1);
    parallel_for(n_chunks, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        vfloat total[3]{};
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            vfloat g[3]{}, to_mean[3]{}, to_sh0[3]{};
            vint shown{};
            if (any(scene.wanted(i, count)))
                for (int c = 0; c < 3; ++c) {
                    const vint bright = load_first(colors + c * n + i, count) > 0.0f;
                    g[c] = bright ? grad_colors.load_lanes(i, c, count) : splat(0.0f);
                    to_sh0[c] = gaussian_color::kY0 * g[c];
                    shown |= g[c] != 0.0f;
                }
            if (!any(shown)) {
                if (grad.shN) __builtin_memset(grad.shN + stride * i, 0, size_t(count * stride) * sizeof(float));
            } else if constexpr (Degree > 0) {
                // Row by row: reads and writes of memory take turns, which was measured to be quicker than whole blocks.
                alignas(64) float values[kBasis * kWidth], slopes[kBasis * kWidth], up[3][kWidth];
                vfloat basis[kBasis];
                const auto at = scene.basis<Degree>(i, count, basis);
                for (int k = 0; k < kBasis; ++k) store(values + k * kWidth, basis[k]);
                store(slopes, splat(0.0f));
                for (int c = 0; c < 3; ++c) store(up[c], g[c]);
                for (int lane = 0; lane < count; ++lane) {
                    const float u[3] = {up[0][lane], up[1][lane], up[2][lane]};
                    const float* p = scene.shN + stride * (i + lane);
                    for (int k = 1; k < kBasis; ++k)
                        slopes[k * kWidth + lane] = p[3 * k - 3] * u[0] + p[3 * k - 2] * u[1] + p[3 * k - 1] * u[2];
                    if (!grad.shN) continue;
                    float* q = grad.shN + stride * (i + lane);
                    for (int k = 1; k < kBasis; ++k)
                        for (int c = 0; c < 3; ++c) q[3 * k - 3 + c] = values[k * kWidth + lane] * u[c];
                    for (i64 k = kUsed; k < stride; ++k) q[k] = 0.0f;
                }
                vfloat to_direction[3];
                sh::gradient<Degree + 1>(at.d[0], at.d[1], at.d[2], [&](int k) { return load(slopes + k * kWidth); }, to_direction);
                gaussian_color::through_direction(at, to_direction, to_mean);
                for (int k = 0; k < 3; ++k) to_mean[k] = shown ? to_mean[k] : splat(0.0f);
            } else if (grad.shN) {
                __builtin_memset(grad.shN + stride * i, 0, size_t(count * stride) * sizeof(float));
            }
            store_rows(grad.means + 3 * i, count, to_mean);
            store_rows(grad.sh0 + 3 * i, count, to_sh0);
            for (int k = 0; k < 3; ++k) total[k] += to_mean[k];
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

// Calls visit(Constant<degree>).
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
    const Scene scene{means, centre, shN, opacities, n, n_coefficients};
    with_degree(degree, [&](auto d) { forward<decltype(d)::value>(scene, sh0, colors, n_threads); });
}

void gaussian_color_backward(const float* means, const float* centre, const float* shN, i64 n, i64 n_coefficients,
                             int degree, const float* opacities, const float* colors, const float* grad_colors,
                             i64 stride_n, i64 stride_k, float* grad_means, float* grad_sh0, float* grad_shN,
                             float* grad_centre, int n_threads) {
    const Scene scene{means, centre, shN, opacities, n, n_coefficients};
    with_degree(degree, [&](auto d) {
        backward<decltype(d)::value>(scene, colors, {grad_colors, stride_n, stride_k},
                                     {grad_means, grad_sh0, grad_shN, grad_centre}, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
