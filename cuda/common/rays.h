// Rays over threads: chunks of rays whose packed samples no other ray owns.
#pragma once
#include "threads.h"

namespace neural {
namespace NEURAL_ISA {

constexpr i64 kRaysPerTask = 64;

// Calls task(ray, start, count) for every ray of packed_info [n_rays, 2], each on one thread.
template <class Task>
inline void for_each_ray(const i64* packed_info, i64 n_rays, int n_threads, const Task& task) {
    parallel_for((n_rays + kRaysPerTask - 1) / kRaysPerTask, n_threads, [&](i64 chunk) {
        const i64 end = n_rays < (chunk + 1) * kRaysPerTask ? n_rays : (chunk + 1) * kRaysPerTask;
        for (i64 ray = chunk * kRaysPerTask; ray < end; ++ray) task(ray, packed_info[2 * ray], packed_info[2 * ray + 1]);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
