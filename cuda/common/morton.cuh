// Morton codes: the bits of three coordinates interleaved, x lowest. U is u32, or a vector of it on a CPU.
#pragma once
#include "platform.cuh"

namespace neural {
namespace morton {

// The bits of v moved to every third place: 8 of them, or 10.
template <class U> NEURAL_HD U spread_8(U v) {
    v = (v | (v << 8)) & 0x0300F00Fu;
    v = (v | (v << 4)) & 0x030C30C3u;
    return (v | (v << 2)) & 0x09249249u;
}
template <class U> NEURAL_HD U spread(U v) { return spread_8(U((v | (v << 16)) & 0x030000FFu)); }

// Every third bit of v moved together: one coordinate of a code, 10 bits.
template <class U> NEURAL_HD U compact(U v) {
    v = v & 0x09249249u;
    v = (v | (v >> 2)) & 0x030C30C3u;
    v = (v | (v >> 4)) & 0x0300F00Fu;
    v = (v | (v >> 8)) & 0x030000FFu;
    return (v | (v >> 16)) & 0x3FFu;
}

template <class U> NEURAL_HD U encode(U x, U y, U z) { return spread(x) | (spread(y) << 1) | (spread(z) << 2); }

} // namespace morton
} // namespace neural
