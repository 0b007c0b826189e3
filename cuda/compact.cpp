// Compaction on the CPU. Indices ascend and mostly come in runs (the front part of every ray), so columns are copied
// a vector at a time where a run is long enough.
#include "compact.h"
#include "common/features.h"
#include "common/rays.h"
#include "common/threads.h"
#include "common/transmittance.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 4096; // kept samples per task

NEURAL_HD i64 least(i64 a, i64 b) { return a < b ? a : b; }

// Calls visit(m, count, first) for pieces of [begin, end) whose indices are first, first + 1, ...: as long as one
// vector where they can be, else single.
template <class Visit> NEURAL_HD void for_each_run(const i64* indices, i64 begin, i64 end, const Visit& visit) {
    for (i64 m = begin; m < end;) {
        const i64 first = indices[m];
        const bool full = m + kWidth <= end && indices[m + kWidth - 1] - first == kWidth - 1;
        visit(m, full ? kWidth : 1, first);
        m += full ? kWidth : 1;
    }
}

template <class T> NEURAL_HD void take(const i64* indices, i64 begin, i64 end, const T* in, T* out) {
    for_each_run(indices, begin, end, [&](i64 m, int count, i64 first) {
        if (count == kWidth) __builtin_memcpy(out + m, in + first, kWidth * sizeof(T));
        else out[m] = in[first];
    });
}

template <class Task> void for_each_chunk(i64 n_kept, int n_threads, const Task& task) {
    parallel_for((n_kept + kChunk - 1) / kChunk, n_threads,
                 [&](i64 chunk) { task(chunk * kChunk, least(n_kept, (chunk + 1) * kChunk)); });
}

} // namespace

void visible_mark(const float* densities, const float* t_starts, const float* t_ends, const i64* packed_info,
                  i64 n_rays, float early_stop, float min_alpha, u8* mask, i64* compacted, int n_threads) {
    const Samples samples{densities, t_starts, t_ends};
    for_each_ray(packed_info, n_rays, n_threads, [&](i64 ray, i64 start, i64 total) {
        i64 marked = 0;
        const i64 visited = walk(samples, start, total, early_stop,
                                 [&](i64 i, i64 count, vfloat alpha, vfloat, vfloat, vint kept) {
            const vint seen = kept & (alpha >= min_alpha);
            for (i64 lane = 0; lane < count; ++lane) {
                const u8 bit = u8(seen[lane] & 1);
                mask[start + i + lane] = bit;
                marked += bit;
            }
        });
        for (i64 i = visited; i < total; ++i) mask[start + i] = 0;
        compacted[2 * ray + 1] = marked;
    });
}

void visible_fill(const u8* mask, const i64* packed_info, const i64* compacted, i64 n_rays, i64* indices, int n_threads) {
    for_each_ray(packed_info, n_rays, n_threads, [&](i64 ray, i64 start, i64 total) {
        i64* out = indices + compacted[2 * ray];
        for (i64 i = start; i < start + total; ++i)
            if (mask[i]) *out++ = i;
    });
}

i64 compact_check(const i64* indices, i64 n_kept, i64 n_samples) {
    if (n_kept == 0) return 1;
    bool ascending = indices[0] >= 0 && indices[n_kept - 1] < n_samples;
    for (i64 m = 1; m < n_kept; ++m) ascending &= indices[m - 1] < indices[m];
    return ascending;
}

void compact_samples(const i64* indices, i64 n_kept, const float* t_starts, const float* t_ends,
                     const i64* ray_indices, float* t_starts_out, float* t_ends_out, i64* ray_indices_out,
                     int n_threads) {
    for_each_chunk(n_kept, n_threads, [&](i64 begin, i64 end) {
        take(indices, begin, end, t_starts, t_starts_out);
        take(indices, begin, end, t_ends, t_ends_out);
        take(indices, begin, end, ray_indices, ray_indices_out);
    });
}

void compact_gather(const i64* indices, i64 n_kept, const float* features, i64 stride_n, i64 stride_k, i64 n_features,
                    float* out, i64 out_stride_n, i64 out_stride_k, int n_threads) {
    for_each_chunk(n_kept, n_threads, [&](i64 begin, i64 end) {
        for (i64 k = 0; k < n_features; ++k) {
            const float* column = features + k * stride_k;
            float* to = out + k * out_stride_k;
            if (stride_n == 1 && out_stride_n == 1) take(indices, begin, end, column, to);
            else
                for (i64 m = begin; m < end; ++m) to[m * out_stride_n] = column[indices[m] * stride_n];
        }
    });
}

void compact_scatter(const i64* indices, i64 n_kept, const float* features, i64 stride_n, i64 stride_k, i64 n_features,
                     i64 n_samples, float* out, i64 out_stride_n, i64 out_stride_k, int n_threads) {
    for_each_chunk(n_kept, n_threads, [&](i64 begin, i64 end) {
        // this chunk owns the rows of out from its first index (the first chunk: row 0) to the next chunk's
        const i64 last = end < n_kept ? indices[end] : n_samples;
        for (i64 k = 0; k < n_features; ++k) {
            const float* column = features + k * stride_k;
            float* to = out + k * out_stride_k;
            i64 row = begin > 0 ? indices[begin] : 0;
            const auto clear_until = [&](i64 stop) {
                for (; row < stop; ++row) to[row * out_stride_n] = 0.0f;
            };
            for_each_run(indices, begin, end, [&](i64 m, int count, i64 first) {
                clear_until(first);
                if (count == kWidth && stride_n == 1 && out_stride_n == 1) store(to + first, load(column + m));
                else
                    for (int i = 0; i < count; ++i) to[(first + i) * out_stride_n] = column[(m + i) * stride_n];
                row = first + count;
            });
            clear_until(last);
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
