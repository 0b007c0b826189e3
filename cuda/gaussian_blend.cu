// Gaussian blending on the GPU, specialised on CHANNELS; arrays as in gaussian_blend.h. Forward: a block of 16x16
// threads per tile. Backward: the same walk leaves each bucket of 32 pairs its state, then a warp per bucket leaves each
// pair's sums in its slot, then a thread per Gaussian adds its slots: no atomics, the same bits every time.
#include "gaussian_walk.cuh"

using namespace neural;
using namespace neural::walking;

constexpr int kChannels = CHANNELS, kRoom = CHANNELS > 0 ? CHANNELS : 1;
constexpr int kFeatures = Gaussian::kFeatures;
constexpr int kMoments = 8, kSlot = kMoments + CHANNELS; // floats: moments of v, absolute sums, dL/d features

extern "C" __global__ void gaussian_blend_pack(const float* means2d, i64 m_n, i64 m_k, const float* conics, i64 c_n,
                                               i64 c_k, const float* opacities, const float* features, i64 f_n,
                                               i64 f_k, i64 n, float* records, i64 stride) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float* record = records + i * stride;
    const float a = -0.5f * ellipse::kLog2E * conics[i * c_n], b = -ellipse::kLog2E * conics[i * c_n + c_k];
    const float c = -0.5f * ellipse::kLog2E * conics[i * c_n + 2 * c_k];
    record[0] = means2d[i * m_n], record[1] = means2d[i * m_n + m_k];
    record[2] = a, record[3] = b, record[4] = c, record[5] = log2f(opacities[i]);
    record[6] = -0.5f * b / a, record[7] = -0.5f * b / c;
    for (int k = 0; k < kChannels; ++k) record[kFeatures + k] = features[i * f_n + k * f_k];
}

extern "C" __global__ void gaussian_blend_forward(const float* records, i64 stride, const float* background,
                                                  const i64* offsets, const i32* gaussians, i64 width, i64 height,
                                                  float* colors, float* alphas, float* left_over) {
    const i64 tile = blockIdx.x;
    const int thread = int(threadIdx.x);
    const Pixel pixel({tile, width}, thread, width, height);
    float sums[kRoom] = {};
    const float left = walk_tile<Gaussian>({records, stride, offsets, gaussians}, tile, thread, pixel,
                                           [](i64, float) {}, [&](const float* record, const Gaussian::Found& found) {
        for (int k = 0; k < kChannels; ++k) sums[k] += found.weight * record[kFeatures + k];
    });
    if (!pixel.inside) return;
    for (int k = 0; k < kChannels; ++k)
        colors[k * width * height + pixel.at] = background ? sums[k] + left * background[k] : sums[k];
    alphas[pixel.at] = 1.0f - left;
    left_over[pixel.at] = left;
}

// Writes states of pixels that have not ended; the others must be 0 before. Its number is what lies behind, g . C less
// the layers so far.
extern "C" __global__ void gaussian_blend_states(const float* records, i64 stride, const i64* offsets,
                                                 const i32* gaussians, i64 width, i64 height, const float* colors,
                                                 const float* left_over, const float* grad_colors,
                                                 const float* grad_alphas, const i64* firsts, float* states) {
    const i64 tile = blockIdx.x;
    const int thread = int(threadIdx.x);
    const Pixel pixel({tile, width}, thread, width, height);
    float g[kRoom] = {}, behind = 0.0f;
    if (pixel.inside) {
        if (grad_alphas) behind = -grad_alphas[pixel.at] * left_over[pixel.at];
        for (int k = 0; k < kChannels && grad_colors; ++k) {
            g[k] = grad_colors[k * width * height + pixel.at];
            behind += g[k] * colors[k * width * height + pixel.at];
        }
    }
    walk_tile<Gaussian>({records, stride, offsets, gaussians}, tile, thread, pixel, [&](i64 pair, float left) {
        if (pair % kBucket) return;
        float* state = states + (firsts[tile] + pair / kBucket) * 2 * kPixels + thread;
        state[0] = left, state[kPixels] = behind;
    }, [&](const float* record, const Gaussian::Found& found) {
        float own = 0.0f;
        for (int k = 0; k < kChannels; ++k) own += g[k] * record[kFeatures + k];
        behind -= found.weight * own;
    });
}

// Leaves sums [P, kSlot] at the slot of each pair; a warp per bucket.
extern "C" __global__ void gaussian_blend_backward(const float* records, i64 stride, const i64* offsets,
                                                   const i32* gaussians, const i32* slots, i64 width, i64 height,
                                                   const float* grad_colors, const i64* firsts, const i32* tiles,
                                                   const float* states, i64 n_tiles, i64 n_buckets, float* sums) {
    const i64 bucket = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / kBucket;
    const int lane = int(threadIdx.x % kBucket);
    if (bucket >= n_buckets) return; // whole warps
    const Buckets buckets{firsts, tiles, states, n_tiles};
    const Place place({records, stride, offsets, gaussians}, buckets, bucket, lane);
    const float* record = place.valid ? records + gaussians[place.pair] * stride : nullptr;
    float features[kRoom] = {}, grads[kRoom] = {}, q[kMoments] = {};
    for (int k = 0; k < kChannels && place.valid; ++k) features[k] = record[kFeatures + k];
    walk_bucket<Gaussian>(buckets, bucket, place, lane, record, width, height,
                          [&](const Pixel& pixel, const float* geometry, const Gaussian::Found& found, float& behind) {
        float own = 0.0f;
        for (int k = 0; k < kChannels && grad_colors; ++k) {
            const float g = grad_colors[k * width * height + pixel.at];
            own += g * features[k];
            grads[k] += found.weight * g;
        }
        behind -= found.weight * own;
        if (found.alpha > blending::kMaxAlpha) return;
        const float v = blending::slope(found.weight, found.alpha, own, behind, 1.0f / (1.0f - found.alpha));
        const float a = geometry[2], b = geometry[3], c = geometry[4], x = v * found.dx, y = v * found.dy;
        q[0] += v, q[1] += x, q[2] += y;
        q[3] += x * found.dx, q[4] += x * found.dy, q[5] += y * found.dy;
        q[6] += fabsf(2.0f * a * x + b * y), q[7] += fabsf(b * x + 2.0f * c * y);
    });
    if (!place.valid) return;
    float* slot = sums + i64(slots[place.pair]) * kSlot;
    for (int i = 0; i < kMoments; ++i) slot[i] = q[i];
    for (int k = 0; k < kChannels; ++k) slot[kMoments + k] = grads[k];
}

// A thread per Gaussian; gradients are feature-major, absolute nullptr where not wanted.
extern "C" __global__ void gaussian_blend_gather(const float* records, i64 stride, const i64* starts,
                                                 const float* sums, i64 n, float* grad_means2d, float* grad_conics,
                                                 float* grad_opacities, float* grad_features, float* absolute) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float q[kSlot] = {};
    for (i64 slot = starts[i]; slot < starts[i + 1]; ++slot)
        for (int k = 0; k < kSlot; ++k) q[k] += sums[slot * kSlot + k];
    const bool shown = starts[i] < starts[i + 1]; // culled ones have no finite record
    const float* record = records + i * stride;
    const blending::Moments<float> moments{q[0], q[1], q[2], q[3], q[4], q[5]};
    const auto g = shown ? blending::gradients(moments, record[2], record[3], record[4], exp2f(-record[5]))
                         : blending::Gradients<float>{};
    grad_means2d[i] = g.mean_x, grad_means2d[n + i] = g.mean_y;
    grad_conics[i] = g.a, grad_conics[n + i] = g.b, grad_conics[2 * n + i] = g.c;
    grad_opacities[i] = g.opacity;
    for (int k = 0; k < kChannels; ++k) grad_features[k * n + i] = q[kMoments + k];
    if (absolute) absolute[i] += ellipse::kLn2 * sqrtf(q[6] * q[6] + q[7] * q[7]);
}
