// Packed compositing on the CPU: lanes are consecutive samples of one ray, chunks of rays over threads.
// Each ray is summed by one thread in the order of its samples, so results do not depend on the thread count.
#include "composite.h"
#include "common/features.h"
#include "common/rays.h"
#include "common/transmittance.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

NEURAL_HD vfloat lanes_of(const Rows& rows, i64 n, i64 k, i64 count) { // any count, as load_first takes it
    const float* p = rows.data + n * rows.stride_n + k * rows.stride_k;
    if (rows.stride_n == 1) return load_first(p, count);
    return load_strided(p, rows.stride_n, count < kWidth ? int(count) : kWidth);
}
NEURAL_HD void store_lanes_of(const RowsOut& rows, i64 n, i64 k, vfloat v, i64 count) {
    float* p = rows.data + n * rows.stride_n + k * rows.stride_k;
    if (rows.stride_n == 1) store_first(p, v, count);
    else store_strided(p, rows.stride_n, v, int(count));
}
NEURAL_HD vfloat middle(const Samples& samples, i64 at, i64 count) {
    return 0.5f * (load_first(samples.t_starts + at, count) + load_first(samples.t_ends + at, count));
}

// C > 0 is the number of channels, held in registers; C = 0 takes any number, one channel after the other.
template <int C>
void forward(const Samples& samples, Rows colors, const i64* packed_info, i64 n_rays, i64 n_channels, float early_stop,
             float* rgb, float* alpha, float* depth, float* weights, int n_threads) {
    for_each_ray(packed_info, n_rays, n_threads, [&](i64 ray, i64 start, i64 total) {
        vfloat sum_w{}, sum_t{}, sums[C > 0 ? C : 1]{};
        const i64 visited = walk(samples, start, total, early_stop,
                                 [&](i64 i, i64 count, vfloat opacity, vfloat before, vfloat, vint kept) {
            const vfloat w = kept ? before * opacity : splat(0.0f);
            store_first(weights + start + i, w, count);
            sum_w += w;
            sum_t += w * middle(samples, start + i, count);
            if constexpr (C > 0)
                for (int k = 0; k < C; ++k) sums[k] += w * lanes_of(colors, start + i, k, count);
        });
        for (i64 i = visited; i < total; ++i) weights[start + i] = 0.0f;
        alpha[ray] = lane_sum(sum_w);
        depth[ray] = lane_sum(sum_t);
        if constexpr (C > 0) {
            for (int k = 0; k < C; ++k) rgb[ray * C + k] = lane_sum(sums[k]);
        } else {
            for (i64 k = 0; k < n_channels; ++k) {
                vfloat channel{};
                for (i64 i = 0; i < visited; i += kWidth)
                    channel += load_first(weights + start + i, visited - i) * lanes_of(colors, start + i, k, visited - i);
                rgb[ray * n_channels + k] = lane_sum(channel);
            }
        }
    });
}

struct Upstream { // gradients of the outputs; nullptr where there is none
    const float *rgb, *alpha, *depth, *weights;
};

// Walks forward once to leave T_{i+1} in `after`, then back from the last visited sample with the running sum of
// G_j w_j. `after` is grad_densities itself: each vector is read before it is overwritten with the gradient.
template <int C>
void backward(const Samples& samples, Rows colors, const i64* packed_info, i64 n_rays, i64 n_channels,
              float early_stop, const float* weights, Upstream grad, float* grad_densities, RowsOut grad_colors,
              int n_threads) {
    const i64 channels = C > 0 ? C : n_channels;
    for_each_ray(packed_info, n_rays, n_threads, [&](i64 ray, i64 start, i64 total) {
        const float* grad_rgb = grad.rgb ? grad.rgb + ray * channels : nullptr;
        i64 visited = total;
        if (grad_densities) {
            visited = walk(samples, start, total, early_stop,
                           [&](i64 i, i64 count, vfloat, vfloat, vfloat after, vint kept) {
                store_first(grad_densities + start + i, kept ? after : splat(-1.0f), count); // -1: past the stop
            });
            for (i64 i = visited; i < total; ++i) grad_densities[start + i] = 0.0f;
            const float from_alpha = grad.alpha ? grad.alpha[ray] : 0.0f;
            const float from_depth = grad.depth ? grad.depth[ray] : 0.0f;
            vfloat behind{}; // sum of G_j w_j over the vectors already passed, in every lane
            for (i64 i = (visited - 1) / kWidth * kWidth; i >= 0 && visited > 0; i -= kWidth) {
                const i64 at = start + i, count = visited - i < kWidth ? visited - i : kWidth;
                const vfloat t0 = load_first(samples.t_starts + at, count), t1 = load_first(samples.t_ends + at, count);
                vfloat g = from_alpha + from_depth * 0.5f * (t0 + t1);
                if (grad.weights) g += load_first(grad.weights + at, count);
                if (grad_rgb)
                    for (i64 k = 0; k < channels; ++k) g += grad_rgb[k] * lanes_of(colors, at, k, count);
                const vfloat after = load_first(grad_densities + at, count);
                const vint kept = ~(after < 0.0f);
                const vfloat own = kept ? g * load_first(weights + at, count) : splat(0.0f);
                const vfloat sums = behind + scan_sum_down(own);
                const vfloat value = composite::grad_density(g, after, shift_down<1>(sums, behind), t1 - t0);
                store_first(grad_densities + at, kept ? value : splat(0.0f), count);
                behind = splat(sums[0]);
            }
        }
        if (!grad_colors.data) return;
        for (i64 k = 0; k < channels; ++k) {
            const float g = grad_rgb ? grad_rgb[k] : 0.0f;
            for (i64 i = 0; i < total; i += kWidth)
                store_lanes_of(grad_colors, start + i, k, g * load_first(weights + start + i, total - i),
                               total - i < kWidth ? total - i : kWidth);
        }
    });
}

// Calls visit(Constant<C>) with C = n_channels for the usual numbers of channels and 0 for others.
template <class Visit> void with_channels(i64 n_channels, const Visit& visit) {
    switch (n_channels) {
    case 1: return visit(Constant<1>{});
    case 3: return visit(Constant<3>{});
    case 4: return visit(Constant<4>{});
    default: return visit(Constant<0>{});
    }
}

} // namespace

void composite_forward(const float* densities, const float* colors, i64 colors_stride_n, i64 colors_stride_k,
                       const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays, i64 n_channels,
                       float early_stop, float* rgb, float* alpha, float* depth, float* weights, int n_threads) {
    with_channels(n_channels, [&](auto c) {
        forward<decltype(c)::value>({densities, t_starts, t_ends}, {colors, colors_stride_n, colors_stride_k},
                                    packed_info, n_rays, n_channels, early_stop, rgb, alpha, depth, weights, n_threads);
    });
}

void composite_backward(const float* densities, const float* colors, i64 colors_stride_n, i64 colors_stride_k,
                        const float* t_starts, const float* t_ends, const i64* packed_info, i64 n_rays, i64 n_channels,
                        float early_stop, const float* weights, const float* grad_rgb, const float* grad_alpha,
                        const float* grad_depth, const float* grad_weights, float* grad_densities, float* grad_colors,
                        i64 gc_stride_n, i64 gc_stride_k, int n_threads) {
    with_channels(n_channels, [&](auto c) {
        backward<decltype(c)::value>({densities, t_starts, t_ends}, {colors, colors_stride_n, colors_stride_k},
                                     packed_info, n_rays, n_channels, early_stop, weights,
                                     {grad_rgb, grad_alpha, grad_depth, grad_weights}, grad_densities,
                                     {grad_colors, gc_stride_n, gc_stride_k}, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
