// Noise on Gaussians' centres on the GPU: one thread per row. Arrays as in gaussian_noise.h.
#include "common/machine.cuh"
#include "gaussian_noise.cuh"

using namespace neural;

extern "C" __global__ void gaussian_noise(float* means, const float* quats, const float* log_scales,
                                          const float* logits, i64 n, float strength, i64 seed, i64 step) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n || !noise::moves(logits[i])) return;
    const float* q = quats + 4 * i;
    if (!(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3] > noise::kShortest)) return;
    const philox::Words block = philox::block(u64(seed), noise::kStream, u32(step), u64(i));
    float uniform[4], d[3];
    for (int k = 0; k < 4; ++k) uniform[k] = philox::uniform(block.w[k]);
    noise::displacement(q, log_scales + 3 * i, logits[i], uniform, strength, Machine{}, d);
    for (int k = 0; k < 3; ++k) means[3 * i + k] += d[k];
}
