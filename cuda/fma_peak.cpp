// Enough independent accumulators to hide the latency of a multiply-add, and nothing that touches memory.
#include "fma_peak.h"
#include "common/simd.h"

namespace neural {
namespace NEURAL_ISA {

double fma_peak(i64 iterations) {
    constexpr int kChains = 12; // latency 4, two units: 8 would do; all live in registers
    vfloat chains[kChains];
    for (int i = 0; i < kChains; ++i) chains[i] = splat(float(i));
    vfloat factor = splat(0.5f), term = splat(1.0f);
    for (i64 n = 0; n < iterations; ++n) {
        NEURAL_UNROLL
        for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * factor + term;
    }
    float total = 0.0f;
    for (int i = 0; i < kChains; ++i) total += sum(chains[i]);
    // each chain tends to 2; the comparison keeps the compiler from dropping the loop
    return total < 0.0f ? 0.0 : 2.0 * kChains * kWidth * double(iterations);
}

} // namespace NEURAL_ISA
} // namespace neural
