// Philox4x32-10: four random words from a 128-bit counter and a 64-bit key, without state. The library's counter is
// (index, stream, step) and its key the seed, so that any machine draws the same numbers in any order.
// Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", section 3.3 and table 2.
#pragma once
#include "platform.cuh"

namespace neural {
namespace philox {

struct Words {
    u32 w[4];
};

NEURAL_HD Words block(u64 seed, u32 stream, u32 step, u64 index) {
    u32 c0 = u32(index), c1 = u32(index >> 32), c2 = stream, c3 = step;
    u32 k0 = u32(seed), k1 = u32(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = u64(0xD2511F53u) * c0, p1 = u64(0xCD9E8D57u) * c2;
        c0 = u32(p1 >> 32) ^ c1 ^ k0;
        c2 = u32(p0 >> 32) ^ c3 ^ k1;
        c1 = u32(p1);
        c3 = u32(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1), a multiple of 2^-24.
NEURAL_HD float uniform(u32 word) { return float(word >> 8) * 5.9604644775390625e-8f; }

} // namespace philox
} // namespace neural
