// The photometric loss on the GPU: a block of 16x16 threads makes one tile of the gradient of one channel, from the
// 36x36 pixels and 26x26 windows that reach into it; both are blurred across, then down, in shared memory, and a window
// is made by every tile that needs it. BYTES is 1 for a target of bytes. Arrays as in ssim.h; sums is [2, blocks]:
// of |x - y| and of S over what each tile owns; counts, of a mask, is [2]: the pixels and windows to divide by.
#include "ssim.cuh"

using namespace neural;

constexpr int kTile = 16, kThreads = kTile * kTile;
constexpr int kWindows = kTile + ssim::kReach, kPixels = kTile + 2 * ssim::kReach;

#if BYTES
typedef u8 Target;
constexpr float kUnit = 1.0f / 255.0f;
#else
typedef float Target;
constexpr float kUnit = 1.0f;
#endif

// Sum over the block, in thread 0; every thread calls it.
__device__ __forceinline__ float block_sum(float v, float* memory, int thread) {
    __syncthreads();
    memory[thread] = v;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
        if (thread < half) memory[thread] += memory[thread + half];
        __syncthreads();
    }
    return memory[0];
}

extern "C" __global__ void ssim_loss(const float* image, i64 image_y, i64 image_x, i64 image_c, const Target* target,
                                     i64 target_y, i64 target_x, i64 target_c, const u8* mask,
                                     const i64* counts, i64 height, i64 width, float l1_scale, float ssim_scale,
                                     float* sums, float* grad, i64 grad_y, i64 grad_x, i64 grad_c) {
    __shared__ float x[kPixels][kPixels], y[kPixels][kPixels];
    __shared__ float across[4][kPixels][kWindows]; // the pixels' products, later [3][kWindows][kTile] of the slopes
    __shared__ float slopes[3][kWindows][kWindows];
    if (counts) {
        l1_scale /= float(counts[0] > 0 ? counts[0] : 1);
        ssim_scale /= float(counts[1] > 0 ? counts[1] : 1);
    }
    const int thread = int(threadIdx.y) * kTile + int(threadIdx.x);
    const i64 left = i64(blockIdx.x) * kTile - ssim::kReach, top = i64(blockIdx.y) * kTile - ssim::kReach;
    const i64 channel = i64(blockIdx.z);
    for (int i = thread; i < kPixels * kPixels; i += kThreads) {
        const int u = i % kPixels, v = i / kPixels;
        const i64 column = left + u, row = top + v;
        float a = 0.0f, b = 0.0f;
        if (column >= 0 && column < width && row >= 0 && row < height) {
            b = float(target[row * target_y + column * target_x + channel * target_c]) * kUnit - ssim::kShift;
            a = mask && !mask[row * width + column]
                    ? b
                    : image[row * image_y + column * image_x + channel * image_c] - ssim::kShift;
        }
        x[v][u] = a;
        y[v][u] = b;
    }
    __syncthreads();
    for (int i = thread; i < kPixels * kWindows; i += kThreads) {
        const int u = i % kWindows, v = i / kWindows;
        float sum[4] = {};
        NEURAL_UNROLL for (int k = 0; k < ssim::kWindow; ++k) {
            const float a = x[v][u + k], b = y[v][u + k], w = ssim::weight(k);
            sum[0] += w * a;
            sum[1] += w * b;
            sum[2] += w * (a * a + b * b);
            sum[3] += w * (a * b);
        }
        for (int q = 0; q < 4; ++q) across[q][v][u] = sum[q];
    }
    __syncthreads();
    float similar = 0.0f; // of the windows that begin in this tile
    for (int i = thread; i < kWindows * kWindows; i += kThreads) {
        const int u = i % kWindows, v = i / kWindows;
        const i64 column = left + u, row = top + v;
        float sum[4] = {};
        NEURAL_UNROLL for (int k = 0; k < ssim::kWindow; ++k)
            for (int q = 0; q < 4; ++q) sum[q] += ssim::weight(k) * across[q][v + k][u];
        ssim::Slopes<float> slope;
        const float s = ssim::similarity<float>({sum[0], sum[1], sum[2], sum[3]}, &slope);
        bool counted = column >= 0 && row >= 0 && column <= width - ssim::kWindow && row <= height - ssim::kWindow;
        if (counted && mask) counted = mask[(row + ssim::kCentre) * width + column + ssim::kCentre];
        if (counted && u >= ssim::kReach && v >= ssim::kReach) similar += s;
        slopes[0][v][u] = counted ? slope.mean : 0.0f;
        slopes[1][v][u] = counted ? slope.squares : 0.0f;
        slopes[2][v][u] = counted ? slope.product : 0.0f;
    }
    __syncthreads();
    const int u = int(threadIdx.x), v = int(threadIdx.y);
    const i64 column = left + ssim::kReach + u, row = top + ssim::kReach + v;
    const bool own = column < width && row < height;
    const float a = x[v + ssim::kReach][u + ssim::kReach], b = y[v + ssim::kReach][u + ssim::kReach];
    const float difference = own ? a - b : 0.0f;
    if (grad) { // the same in all threads
        float(*rows)[kWindows][kTile] = (float(*)[kWindows][kTile])&across[0][0][0];
        for (int i = thread; i < kWindows * kTile; i += kThreads) {
            const int column_in = i % kTile, row_in = i / kTile;
            float sum[3] = {};
            NEURAL_UNROLL for (int k = 0; k < ssim::kWindow; ++k)
                for (int q = 0; q < 3; ++q) sum[q] += ssim::weight(k) * slopes[q][row_in][column_in + k];
            for (int q = 0; q < 3; ++q) rows[q][row_in][column_in] = sum[q];
        }
        __syncthreads();
        if (own) {
            float sum[3] = {};
            NEURAL_UNROLL for (int k = 0; k < ssim::kWindow; ++k)
                for (int q = 0; q < 3; ++q) sum[q] += ssim::weight(k) * rows[q][v + k][u];
            const float sign = difference > 0.0f ? 1.0f : difference < 0.0f ? -1.0f : 0.0f;
            const float g = l1_scale * sign - ssim_scale * (sum[0] + 2.0f * a * sum[1] + b * sum[2]);
            grad[row * grad_y + column * grad_x + channel * grad_c] = mask && !mask[row * width + column] ? 0.0f : g;
        }
    }
    const i64 blocks = i64(gridDim.x) * gridDim.y * gridDim.z;
    const i64 block = (channel * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    float* memory = &x[0][0];
    const float l1 = block_sum(difference < 0.0f ? -difference : difference, memory, thread);
    if (thread == 0) sums[block] = l1;
    const float total = block_sum(similar, memory, thread);
    if (thread == 0) sums[blocks + block] = total;
}
