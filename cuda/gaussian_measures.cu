// What blending says beside the image, on the GPU; arrays as in gaussian_blend.h, walks as in gaussian_walk.cuh.
#include "gaussian_walk.cuh"

using namespace neural;
using namespace neural::walking;

// Leaves what each bucket begins with; states must be 0 before.
extern "C" __global__ void gaussian_measures_states(const float* records, i64 stride, const i64* offsets,
                                                    const i32* gaussians, i64 width, i64 height, const i64* firsts,
                                                    float* states) {
    const i64 tile = blockIdx.x;
    const int thread = int(threadIdx.x);
    const Pixel pixel({tile, width}, thread, width, height);
    walk_tile<Gaussian>({records, stride, offsets, gaussians}, tile, thread, pixel, [&](i64 pair, float left) {
        if (pair % kBucket == 0) states[(firsts[tile] + pair / kBucket) * 2 * kPixels + thread] = left;
    }, [](const float*, const Gaussian::Found&) {});
}

// Leaves pixels [P] and sums [P] of each pair at its slot; a warp per bucket.
extern "C" __global__ void gaussian_contributions(const float* records, i64 stride, const i64* offsets,
                                                  const i32* gaussians, const i32* slots, i64 width, i64 height,
                                                  const i64* firsts, const i32* tiles, const float* states,
                                                  i64 n_tiles, i64 n_buckets, i32* pixels, float* sums) {
    const i64 bucket = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / kBucket;
    const int lane = int(threadIdx.x % kBucket);
    if (bucket >= n_buckets) return; // whole warps
    const Buckets buckets{firsts, tiles, states, n_tiles};
    const Place place({records, stride, offsets, gaussians}, buckets, bucket, lane);
    const float* record = place.valid ? records + gaussians[place.pair] * stride : nullptr;
    i32 count = 0;
    float sum = 0.0f;
    walk_bucket<Gaussian>(buckets, bucket, place, lane, record, width, height,
                          [&](const Pixel&, const float*, const Gaussian::Found& found, float&) {
        ++count, sum += found.weight;
    });
    if (!place.valid) return;
    pixels[slots[place.pair]] = count;
    sums[slots[place.pair]] = sum;
}

extern "C" __global__ void gaussian_contributions_gather(const i64* starts, const i32* pixels, const float* sums,
                                                         i64 n, i64* counts, float* weights) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    i64 count = 0;
    float weight = 0.0f;
    for (i64 slot = starts[i]; slot < starts[i + 1]; ++slot) count += pixels[slot], weight += sums[slot];
    counts[i] = count;
    weights[i] = weight;
}

// Records of one channel, the depth.
extern "C" __global__ void gaussian_median_depth(const float* records, i64 stride, const i64* offsets,
                                                 const i32* gaussians, i64 width, i64 height, float* depth) {
    const i64 tile = blockIdx.x;
    const int thread = int(threadIdx.x);
    const Pixel pixel({tile, width}, thread, width, height);
    float reached = 1.0f, found_at = 0.0f;
    walk_tile<Gaussian>({records, stride, offsets, gaussians}, tile, thread, pixel, [](i64, float) {},
                        [&](const float* record, const Gaussian::Found& found) {
        const float after = reached - found.weight;
        if (reached > 0.5f && after <= 0.5f) found_at = record[Gaussian::kFeatures];
        reached = after;
    });
    if (pixel.inside) depth[pixel.at] = found_at;
}
