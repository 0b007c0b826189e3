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

// Memory aligned for vectors, not cleared. (No std container may appear in a kernel file: see entry.h.) It throws
// std::bad_alloc, which nanobind turns into MemoryError but which would end the process inside a parallel region: make
// it outside, or let parallel_for_with make it.
template <class T> struct Scratch {
    T* data;
    explicit Scratch(i64 n) : data((T*)::operator new(size_t(n) * sizeof(T), std::align_val_t(64))) {}
    ~Scratch() { ::operator delete(data, std::align_val_t(64)); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
};

// The most threads that work on so many tasks.
inline int team_size(i64 n_tasks, int n_threads) {
#ifdef _OPENMP
    const int most = n_tasks < n_threads ? int(n_tasks) : n_threads;
    return most > 1 ? most : 1;
#else
    (void)n_tasks, (void)n_threads;
    return 1;
#endif
}

// Calls task(i, thread) for i in [0, n_tasks), each exactly once, 0 <= thread < team_size(n_tasks, n_threads). Tasks are
// handed out one by one in order: put the expensive ones first. A task may not throw.
template <class Task> inline void parallel_for_threads(i64 n_tasks, int n_threads, const Task& task) {
#ifdef _OPENMP
    const int team = team_size(n_tasks, n_threads);
    if (team > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
        for (i64 i = 0; i < n_tasks; ++i) task(i, omp_get_thread_num());
        return;
    }
#else
    (void)n_threads;
#endif
    for (i64 i = 0; i < n_tasks; ++i) task(i, 0);
}

// Calls task(i).
template <class Task> inline void parallel_for(i64 n_tasks, int n_threads, const Task& task) {
    parallel_for_threads(n_tasks, n_threads, [&](i64 i, int) { task(i); });
}

// Calls task(i, scratch) with memory of the thread's own for `length` values, as the thread's last task left it.
template <class T, class Task>
inline void parallel_for_with(i64 length, i64 n_tasks, int n_threads, const Task& task) {
    constexpr i64 line = sizeof(T) < 64 ? 64 / sizeof(T) : 1;
    const i64 stride = (length + line - 1) / line * line;
    const Scratch<T> memory(stride * team_size(n_tasks, n_threads));
    parallel_for_threads(n_tasks, n_threads, [&](i64 i, int thread) { task(i, memory.data + thread * stride); });
}

} // namespace NEURAL_ISA
} // namespace neural
