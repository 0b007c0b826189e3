// Rows of a matrix, a vector of them at a time, in chunks over threads.
#pragma once
#include "features.h"
#include "threads.h"

namespace neural {
namespace NEURAL_ISA {

constexpr i64 kRowsOfTask = 4096;

// Calls task(i, count) for each vector of rows i .. i + count - 1 of n; count is kWidth but at the end.
template <class Task> inline void for_each_vector(i64 n, int n_threads, const Task& task) {
    parallel_for((n + kRowsOfTask - 1) / kRowsOfTask, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kRowsOfTask ? n : (chunk + 1) * kRowsOfTask;
        for (i64 i = chunk * kRowsOfTask; i < end; i += kWidth) task(i, lanes(i, end));
    });
}

} // namespace NEURAL_ISA
} // namespace neural
