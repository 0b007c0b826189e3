// Philox random numbers on the CPU: a pure function of the index, chunks over threads.
#include "philox.h"
#include "common/philox.cuh"
#include "common/threads.h"

namespace neural {
namespace NEURAL_ISA {

void philox_uniform(u64 seed, u32 stream, u32 step, i64 n, int words, float* out, i64 stride_n, i64 stride_w,
                    int n_threads) {
    constexpr i64 kChunk = 4096;
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 i = chunk * kChunk; i < end; ++i) {
            const philox::Words block = philox::block(seed, stream, step, u64(i));
            for (int w = 0; w < words; ++w) out[i * stride_n + w * stride_w] = philox::uniform(block.w[w]);
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
