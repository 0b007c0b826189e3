// Explicit threads for CPU kernels. Tasks own what they write, so results do not depend on the thread count.
#pragma once
#include "platform.cuh"
#include <cstddef>
#include <new>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace neural {
namespace NEURAL_ISA {

// A zeroed array of a task's own, aligned for vectors. (No std container may appear in a kernel file: see entry.h.)
template <class T> struct Scratch {
    T* data;
    explicit Scratch(size_t n) : data((T*)::operator new(n * sizeof(T), std::align_val_t(64))) {
        __builtin_memset((void*)data, 0, n * sizeof(T));
    }
    ~Scratch() { ::operator delete(data, std::align_val_t(64)); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
};

// Calls task(i) for i in [0, n_tasks), each exactly once, on up to n_threads threads. Tasks are handed out one
// by one in order: put the expensive ones first.
template <class Task> inline void parallel_for(i64 n_tasks, int n_threads, const Task& task) {
#ifdef _OPENMP
    if (n_threads > 1 && n_tasks > 1) {
        const int team = n_tasks < n_threads ? int(n_tasks) : n_threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
        for (i64 i = 0; i < n_tasks; ++i) task(i);
        return;
    }
#else
    (void)n_threads;
#endif
    for (i64 i = 0; i < n_tasks; ++i) task(i);
}

} // namespace NEURAL_ISA
} // namespace neural
