// Learned hash probing: a hash chooses a block of 2^P neighbouring entries, a learned code which of them a vertex uses.
//   index = 2^P (h1(v) mod size / 2^P) + codes[h2(v)]
// h1 is the hash grid's key. h2 is the top bits of another XOR of coordinates times primes: a product's top bits depend
// on all bits of the coordinate, so that vertices that meet under h1 (whose low bits know low bits only) part under h2.
// Source: Takikawa et al. 2023, arXiv:2312.17241, section 3 (eq. 5); h2 is ours.
#pragma once
#include "hash_grid.cuh"

namespace neural {
namespace probe {

constexpr int kMaxDims = 4;

// A level's codebook: log2 of its codes, log2 of the entries that a code chooses among.
struct Book {
    int log2_codes, log2_probes;
};

// Place in the codebook of a corner of a cell; bit d of `corner` chooses the upper neighbour on axis d.
template <int D, class V, class U> NEURAL_HD U code_place(const grid::Axis<V, U>* axes, Book book, int corner) {
    const u32 primes[kMaxDims] = {2246822519u, 3266489917u, 668265263u, 374761393u};
    U key = (axes[0].cell + u32(corner & 1)) * primes[0];
    for (int d = 1; d < D; ++d) key = key ^ ((axes[d].cell + u32((corner >> d) & 1)) * primes[d]);
    return key >> u32(32 - book.log2_codes);
}

// First entry of the block that a corner's entry is in, within its level.
template <int D, class V, class U>
NEURAL_HD U block_start(const grid::Axis<V, U>* axes, const grid::Level<D>& level, Book book, int corner) {
    const U key = grid::corner_key<D>(axes, level, corner);
    return (key & ((level.size >> book.log2_probes) - 1u)) << u32(book.log2_probes);
}

} // namespace probe
} // namespace neural
