// Surfel blending on the GPU, specialised on CHANNELS; kernels walk as those of gaussian_blend.cu do. Arrays as in
// surfel_blend.h, but for records: log2 of opacity, the surfel as surfel_blend.cuh has it, the features. The cover
// serves the tiles alone.
#include "common/machine.cuh"
#include "gaussian_walk.cuh"
#include "surfel_blend.cuh"

using namespace neural;
using namespace neural::walking;

struct Surfel { // what is walked
    static constexpr int kFloats = 1 + surfel::kSheet, kFeatures = kFloats;
    struct Found : Share, surfel::Crossing<float, Machine> {};
    static __device__ __forceinline__ Found meet(const float* g, float x, float y, float& left) {
        const auto crossing = surfel::cross(g + 1, x, y, Machine{});
        return {share(g[0] - 0.5f * ellipse::kLog2E * crossing.squared, g[0], left), crossing};
    }
};

constexpr int kChannels = CHANNELS, kRoom = CHANNELS > 0 ? CHANNELS : 1, kFeatures = Surfel::kFeatures;
constexpr int kSlot = surfel::kMoments + CHANNELS; // floats

extern "C" __global__ void surfel_blend_pack(const float* means2d, i64 m_n, i64 m_k, const float* axes, i64 a_n,
                                             i64 a_k, const float* features, i64 f_n, i64 f_k, const float* depths,
                                             const float* opacities, i64 n, float* records, i64 stride) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const auto axis = [&](int k) { return axes[i * a_n + k * a_k]; };
    const surfel::Axes<float> a{axis(0), axis(1), axis(2), axis(3), axis(4), axis(5)};
    const float front[Surfel::kFloats] = {log2f(opacities[i]), means2d[i * m_n], means2d[i * m_n + m_k], a.ux, a.vx,
                                          a.uy, a.vy, a.uz, a.vz, depths[i], surfel::area(a), surfel::slope_x(a),
                                          surfel::slope_y(a)};
    float* record = records + i * stride;
    for (int k = 0; k < Surfel::kFloats; ++k) record[k] = front[k];
    for (int k = 0; k < kChannels; ++k) record[kFeatures + k] = features[i * f_n + k * f_k];
}

extern "C" __global__ void surfel_blend_forward(const float* records, i64 stride, const float* background,
                                                const i64* offsets, const i32* gaussians, i64 width, i64 height,
                                                float* colors, float* planes, float* state) {
    const i64 tile = blockIdx.x, size = width * height;
    const int thread = int(threadIdx.x);
    const Pixel pixel({tile, width}, thread, width, height);
    float sums[kRoom] = {}, first = 0.0f, mean = 0.0f, square = 0.0f, median = 0.0f, place = 0.0f;
    float reaching = 0.0f, order = 0.0f; // of the pair at hand: what of the light, which in its tile, from 1
    const float left = walk_tile<Surfel>({records, stride, offsets, gaussians}, tile, thread, pixel,
                                         [&](i64 pair, float before) { reaching = before, order = float(pair + 1); },
                                         [&](const float* record, const Surfel::Found& found) {
        if (!(first > 0.0f)) first = found.depth;
        if (reaching > 0.5f) median = found.depth, place = order;
        const float beyond = found.depth - first, share = found.weight * beyond;
        mean += share, square += share * beyond;
        for (int k = 0; k < kChannels; ++k) sums[k] += found.weight * record[kFeatures + k];
    });
    if (!pixel.inside) return;
    for (int k = 0; k < kChannels; ++k)
        colors[k * size + pixel.at] = background ? sums[k] + left * background[k] : sums[k];
    const float alpha = 1.0f - left;
    const auto put = [&](float* to, int plane, float value) { to[plane * size + pixel.at] = value; };
    put(planes, surfel::kAlpha, alpha), put(planes, surfel::kExpected, mean + first * alpha);
    put(planes, surfel::kMedian, median);
    put(planes, surfel::kDistortion, fmaxf(alpha * square - mean * mean, 0.0f));
    put(state, surfel::kLeft, left), put(state, surfel::kFirst, first), put(state, surfel::kMean, mean);
    put(state, surfel::kSquare, square), put(state, surfel::kPlace, place);
}

// Writes states of pixels that have not ended, with what lies behind as in gaussian_blend.cu; the others must be 0
// before. gains [3, H, W]: surfel::Gain of each pixel.
extern "C" __global__ void surfel_blend_states(const float* records, i64 stride, const i64* offsets,
                                               const i32* gaussians, i64 width, i64 height, const float* colors,
                                               const float* state, const float* grad_colors, const float* grad_alphas,
                                               const float* grad_expected, const float* grad_distortions,
                                               const i64* firsts, float* gains, float* states) {
    const i64 tile = blockIdx.x, size = width * height;
    const int thread = int(threadIdx.x);
    const Pixel pixel({tile, width}, thread, width, height);
    float g[kRoom] = {}, first = 0.0f, behind = 0.0f;
    surfel::Gain<float> gain{};
    if (pixel.inside) {
        const auto of = [&](int plane) { return state[plane * size + pixel.at]; };
        const auto given = [&](const float* grad) { return grad ? grad[pixel.at] : 0.0f; };
        const surfel::Totals<float> totals{of(surfel::kLeft), of(surfel::kFirst), of(surfel::kMean),
                                           of(surfel::kSquare)};
        first = totals.first;
        gain = surfel::gain(totals, given(grad_expected), given(grad_distortions));
        behind = surfel::all_gains(totals, gain, given(grad_alphas));
        for (int k = 0; k < kChannels && grad_colors; ++k) {
            g[k] = grad_colors[k * size + pixel.at];
            behind += g[k] * colors[k * size + pixel.at];
        }
        gains[pixel.at] = gain.constant, gains[size + pixel.at] = gain.linear, gains[2 * size + pixel.at] = gain.bend;
    }
    walk_tile<Surfel>({records, stride, offsets, gaussians}, tile, thread, pixel, [&](i64 pair, float left) {
        if (pair % kBucket) return;
        float* to = states + (firsts[tile] + pair / kBucket) * 2 * kPixels + thread;
        to[0] = left, to[kPixels] = behind;
    }, [&](const float* record, const Surfel::Found& found) {
        const float beyond = found.depth - first;
        float own = gain.constant + beyond * (gain.linear + gain.bend * beyond);
        for (int k = 0; k < kChannels; ++k) own += g[k] * record[kFeatures + k];
        behind -= found.weight * own;
    });
}

// Leaves sums [P, kSlot] at the slot of each pair; a warp per bucket.
extern "C" __global__ void surfel_blend_backward(const float* records, i64 stride, const i64* offsets,
                                                 const i32* gaussians, const i32* slots, i64 width, i64 height,
                                                 const float* state, const float* gains, const float* grad_colors,
                                                 const float* grad_medians, const i64* firsts, const i32* tiles,
                                                 const float* states, i64 n_tiles, i64 n_buckets, float* sums) {
    const i64 bucket = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / kBucket, size = width * height;
    const int lane = int(threadIdx.x % kBucket);
    if (bucket >= n_buckets) return; // whole warps
    const Buckets buckets{firsts, tiles, states, n_tiles};
    const Place place({records, stride, offsets, gaussians}, buckets, bucket, lane);
    const float* record = place.valid ? records + gaussians[place.pair] * stride : nullptr;
    float features[kRoom] = {}, grads[kRoom] = {}, q[surfel::kMoments] = {};
    for (int k = 0; k < kChannels && place.valid; ++k) features[k] = record[kFeatures + k];
    const float inverse_depth = place.valid ? 1.0f / record[1 + surfel::kDepth] : 0.0f;
    const float order = place.valid ? float(place.pair - offsets[place.tile] + 1) : 0.0f;
    walk_bucket<Surfel>(buckets, bucket, place, lane, record, width, height,
                        [&](const Pixel& pixel, const float* geometry, const Surfel::Found& found, float& behind) {
        const float beyond = found.depth - state[surfel::kFirst * size + pixel.at];
        const float linear = gains[size + pixel.at], bend = gains[2 * size + pixel.at] * beyond;
        float own = gains[pixel.at] + beyond * (linear + bend), v = 0.0f;
        for (int k = 0; k < kChannels && grad_colors; ++k) {
            const float g = grad_colors[k * size + pixel.at];
            own += g * features[k];
            grads[k] += found.weight * g;
        }
        behind -= found.weight * own;
        if (found.alpha <= blending::kMaxAlpha)
            v = blending::slope(found.weight, found.alpha, own, behind, 1.0f / (1.0f - found.alpha));
        float g_depth = found.weight * (linear + 2.0f * bend);
        if (grad_medians && state[surfel::kPlace * size + pixel.at] == order) g_depth += grad_medians[pixel.at];
        surfel::add(q, geometry + 1, inverse_depth, found, v, g_depth, Machine{});
    });
    if (!place.valid) return;
    float* slot = sums + i64(slots[place.pair]) * kSlot;
    for (int i = 0; i < surfel::kMoments; ++i) slot[i] = q[i];
    for (int k = 0; k < kChannels; ++k) slot[surfel::kMoments + k] = grads[k];
}

// A thread per surfel; gradients are feature-major, absolute nullptr where not wanted.
extern "C" __global__ void surfel_blend_gather(const float* records, i64 stride, const i64* starts, const float* sums,
                                               i64 n, float* grad_means2d, float* grad_axes, float* grad_depths,
                                               float* grad_opacities, float* grad_features, float* absolute) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float q[kSlot] = {}, front[Surfel::kFloats] = {};
    for (i64 slot = starts[i]; slot < starts[i + 1]; ++slot)
        for (int k = 0; k < kSlot; ++k) q[k] += sums[slot * kSlot + k];
    if (starts[i] < starts[i + 1]) // culled ones have no finite record
        for (int k = 0; k < Surfel::kFloats; ++k) front[k] = records[i * stride + k];
    const float* a = front + 1 + surfel::kAxes;
    const surfel::Moments<float> moments{q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7], q[8], q[9], q[10], q[11]};
    const auto g = surfel::axes_gradients<float>(moments, {a[0], a[1], a[2], a[3], a[4], a[5]});
    const float axes[6] = {g.ux, g.vx, g.uy, g.vy, g.uz, g.vz};
    grad_means2d[i] = moments.x, grad_means2d[n + i] = moments.y;
    for (int k = 0; k < 6; ++k) grad_axes[k * n + i] = axes[k];
    grad_depths[i] = moments.z, grad_opacities[i] = moments.slope * exp2f(-front[0]);
    for (int k = 0; k < kChannels; ++k) grad_features[k * n + i] = q[surfel::kMoments + k];
    if (absolute) absolute[i] += sqrtf(q[12] * q[12] + q[13] * q[13]);
}
