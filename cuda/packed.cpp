// The table of packed samples on the CPU: one pass over the rays, by one thread.
#include "packed.h"

namespace neural {
namespace NEURAL_ISA {

i64 packed_info_check(const i64* packed_info, i64 n_rays, i64 n_samples) {
    i64 covered = 0, end = 0; // `end`: of the ranges so far
    for (i64 ray = 0; ray < n_rays; ++ray) {
        const i64 start = packed_info[2 * ray], count = packed_info[2 * ray + 1];
        if (count < 0 || start < 0 || start > n_samples || count > n_samples - start) return -(ray + 1);
        if (count == 0) continue;
        if (start < end) return -(ray + 1);
        end = start + count;
        covered += count;
    }
    return covered;
}

i64 packed_info_starts(i64* packed_info, i64 n_rays, i64 max_samples, i64* n_kept) {
    i64 total = 0, kept = n_rays;
    for (i64 ray = 0; ray < n_rays; ++ray) {
        i64& count = packed_info[2 * ray + 1];
        if (kept == n_rays && count > max_samples - total) kept = ray;
        if (ray >= kept) count = 0;
        packed_info[2 * ray] = total;
        total += count;
    }
    *n_kept = kept;
    return total;
}

} // namespace NEURAL_ISA
} // namespace neural
