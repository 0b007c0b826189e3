// What the lattice encodings share on the CPU: how points meet levels, and in which order work is done. The forward
// pass and the table's gradient go level by level: a level's entries stay near the cache while all points pass. One
// task owns a level in the table's gradient, so there are no atomics and sums have one order. The gradient to positions
// goes by chunks of points, levels in order.
#pragma once
#include "features.h"
#include "level.cuh"
#include "threads.h"

namespace neural {
namespace NEURAL_ISA {

constexpr i64 kChunk = 8192;      // points per task of one level
constexpr i64 kWideChunk = 65536; // points per task of all levels: a level's entries are used often before the next level

struct Grid {
    Rows positions;
    const i64* levels;
    const i64* segments;
    i64 n_tables;
    int n_levels;
    const float* level_weights;
    int form; // which of its forms an encoding takes: see its header
    int outside;

    i64 n_points() const { return segments[n_tables]; }
    float weight(int level) const { return level_weights ? level_weights[level] : 1.0f; }
    template <int D> const i64* row(i64 table, int l) const {
        return levels + (table * n_levels + l) * grid::kRowLength<D>;
    }
    template <int D> grid::Level<D> level(i64 table, int l) const { return grid::read_level<D>(row<D>(table, l)); }
};

// A matrix [N, K] with each column contiguous: every level reads all rows, so that row-major ones are turned once.
struct Turned {
    static constexpr i64 kTile = 256; // rows whose lines stay in the L1 cache from column to column
    Scratch<float> memory;
    Rows rows;

    Turned(Rows in, i64 n, i64 n_columns, int n_threads) : memory(in.stride_n == 1 ? 0 : n * n_columns), rows(in) {
        if (in.stride_n == 1) return;
        parallel_for((n + kTile - 1) / kTile, n_threads, [&](i64 tile) {
            const i64 end = (tile + 1) * kTile < n ? (tile + 1) * kTile : n;
            for (i64 k = 0; k < n_columns; ++k)
                for (i64 i = tile * kTile; i < end; ++i) memory.data[k * n + i] = in.data[i * in.stride_n + k * in.stride_k];
        });
        rows = {memory.data, 1, n};
    }
};

// Points first .. last-1, all of one sub-table.
struct Span {
    i64 table, first, last;
};

// Every segment cut into chunks of `size` points. There may be many thousands of sub-tables of a few points each.
struct Chunks {
    const i64* segments;
    i64 n_tables, size;
    Scratch<i64> before; // chunks of the segments before each

    Chunks(const Grid& g, i64 chunk) : segments(g.segments), n_tables(g.n_tables), size(chunk), before(g.n_tables + 1) {
        before.data[0] = 0;
        for (i64 t = 0; t < n_tables; ++t)
            before.data[t + 1] = before.data[t] + (segments[t + 1] - segments[t] + size - 1) / size;
    }
    i64 count() const { return before.data[n_tables]; }
    Span operator[](i64 k) const {
        i64 t = 0;
        for (i64 end = n_tables; end - t > 1;) { // the last with before[t] <= k: it has points
            const i64 middle = (t + end) / 2;
            (before.data[middle] <= k ? t : end) = middle;
        }
        const i64 begin = segments[t] + (k - before.data[t]) * size;
        return {t, begin, begin + size < segments[t + 1] ? begin + size : segments[t + 1]};
    }
};

NEURAL_HD bool any_at_least(vuint v, u32 bound) {
#if defined(__AVX512F__)
    return _mm512_cmpge_epu32_mask((__m512i)v, _mm512_set1_epi32(int(bound))) != 0;
#elif defined(__AVX2__)
    const __m256i b = _mm256_set1_epi32(int(bound));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_max_epu32((__m256i)v, b), (__m256i)v)) != 0;
#else
    u32 any = 0;
    for (int i = 0; i < kWidth; ++i) any |= v[i] >= bound;
    return any != 0;
#endif
}

// key % size. Hashed sizes are powers of two; a dense key is in range but at the box's faces; tiled ones repeat.
template <int D> NEURAL_HD vuint wrap(vuint key, const grid::Level<D>& level) {
    if (level.hashed) return key & (level.size - 1);
    if (!any_at_least(key, level.size)) return key;
    typedef u64 wide __attribute__((vector_size(8 * kWidth)));
    const vuint q = __builtin_convertvector((__builtin_convertvector(key, wide) * u64(level.magic)) >> 32, vuint);
    const vuint r = key - q * level.size; // q is exact or one too small
    return r >= level.size ? r - level.size : r;
}

// floor(p); `cell` is that as an integer, at most kFarthestCell from 0.
NEURAL_HD vfloat whole(vfloat p, vuint& cell) {
    const vfloat f = floor(p);
    cell = (vuint)to_int(max(min(f, splat(grid::kFarthestCell)), splat(-grid::kFarthestCell)));
    return f;
}

// Coordinate d of points, as the mode for what lies outside has it. `inside` is 0 in lanes whose coordinate does not
// move the result, else 1; `valid` becomes 0 in lanes that count as outside.
NEURAL_HD vfloat read_axis(const Grid& g, i64 n, int d, int count, vfloat& inside, vfloat& valid) {
    vfloat x = load(g.positions.data + d * g.positions.stride_k + n, count); // they are turned
    inside = splat(1.0f);
    if (g.outside != grid::kWrap) {
        const vint in = (x >= 0.0f) & (x <= 1.0f);
        inside = in ? inside : splat(0.0f);
        if (g.outside == grid::kZero) {
            valid = valid * inside;
            x = in ? x : splat(0.0f);
        } else {
            x = x < 0.0f ? splat(0.0f) : (x > 1.0f ? splat(1.0f) : x); // NaN stays
        }
    }
    return x;
}

// Reads a level's lines in order before they are used at random, if most of them will be: that is a fifth faster. (Loads,
// because a core drops prefetches when it has many.)
inline void stream_in(const void* base, i64 bytes, i64 n_uses) {
    if (n_uses < bytes / 32) return; // two of each line
    u32 all = 0;
    for (i64 i = 0; i + 4 <= bytes; i += 64) {
        u32 word;
        __builtin_memcpy(&word, (const char*)base + i, 4);
        all |= word;
    }
    __asm__ volatile("" ::"r"(all)); // it is not worth nothing
}

// Runs visit(level index, span, the level's first entry) for all points, level by level, and fills the features of levels
// of weight 0 with zeros. A point reads `n_vertices` entries of a level.
template <int D, int F, class Visit>
void by_levels(const Grid& g, const void* table, int dtype, int n_vertices, RowsOut features, int n_threads,
               const Visit& visit) {
    const Chunks chunks(g, kChunk);
    const i64 n_chunks = chunks.count(), bytes = F * (dtype == 0 ? 4 : 2);
    parallel_for(g.n_levels * n_chunks, n_threads, [&](i64 task) {
        const int l = g.n_levels - 1 - int(task / n_chunks);
        const Span span = chunks[task % n_chunks];
        if (g.weight(l) == 0.0f) {
            for (i64 n = span.first; n < span.last; n += kWidth)
                for (int f = 0; f < F; ++f) features.store_lanes(n, l * F + f, vfloat{}, lanes(n, span.last));
            return;
        }
        const i64* row = g.row<D>(span.table, l);
        const char* base = (const char*)table + row[0] * bytes;
        const i64 begin = g.segments[span.table];
        if (span.first == begin) // of several sub-tables each
            stream_in(base, row[1] * bytes, (g.segments[span.table + 1] - begin) * n_vertices);
        visit(l, span, base);
    });
}

// Which blocks of 64 entries a level's task wrote to: bytes while it runs, then bits in the shared words.
struct Marks {
    u8* blocks = nullptr;
    i64 first = 0, n = 0;

    void begin(u64* touched, i64 offset, u32 size) {
        if (!touched) return;
        first = offset >> 6;
        n = ((offset + size - 1) >> 6) - first + 1;
        blocks = (u8*)__builtin_calloc(size_t(n), 1);
        if (blocks) return;
        for (i64 b = 0; b < n; ++b) set(touched, b); // no memory to tell: all of the level counts as touched
    }
    void set(u64* touched, i64 b) const {
        __atomic_fetch_or(touched + ((first + b) >> 6), u64(1) << ((first + b) & 63), __ATOMIC_RELAXED);
    }
    void add(const u32* index, i64 offset, int count) const {
        for (int i = 0; i < count; ++i) blocks[((offset + index[i]) >> 6) - first] = 1;
    }
    void end(u64* touched) {
        if (!blocks) return;
        for (i64 b = 0; b < n; ++b)
            if (blocks[b]) set(touched, b);
        __builtin_free(blocks);
    }
};

// Runs visit(level index, span, gradient of the level's first entry, marks) for all points, one task per level and
// sub-table; where neighbouring sub-tables share a level's entries, the first one's task adds for all of them.
template <int D, int F, class Visit>
void by_owners(const Grid& g, float* grad_table, u64* touched, int n_vertices, int n_threads, const Visit& visit) {
    const auto shares = [&](i64 t, int l) { return g.row<D>(t, l)[0] == g.row<D>(t - 1, l)[0]; };
    parallel_for(g.n_tables * g.n_levels, n_threads, [&](i64 task) {
        const int l = g.n_levels - 1 - int(task / g.n_tables);
        const i64 first = task % g.n_tables;
        if (first > 0 && shares(first, l)) return;
        i64 end = first + 1;
        while (end < g.n_tables && shares(end, l)) ++end;
        const i64 n_points = g.segments[end] - g.segments[first];
        if (g.weight(l) == 0.0f || n_points == 0) return;
        const i64 offset = g.row<D>(first, l)[0], size = g.row<D>(first, l)[1];
        float* base = grad_table + offset * F;
        stream_in(base, size * F * 4, n_points * n_vertices);
        Marks marks;
        marks.begin(touched, offset, u32(size));
        for (i64 t = first; t < end; ++t) visit(l, Span{t, g.segments[t], g.segments[t + 1]}, base, marks);
        marks.end(touched);
    });
}

// Runs visit(level index, span, sums) for all points, levels in order within a chunk, then stores the sums, D vectors for
// every vector of points of the span, to grad_positions unless that is null.
template <int D, class Visit>
void by_chunks(const Grid& g, float* grad_positions, int n_threads, const Visit& visit) {
    const auto vectors = [](i64 points) { return (points + kWidth - 1) / kWidth * D; };
    const i64 length = vectors(g.n_points() < kWideChunk ? g.n_points() : kWideChunk);
    const Chunks chunks(g, kWideChunk);
    parallel_for_with<vfloat>(length, chunks.count(), n_threads, [&](i64 task, vfloat* sums) {
        const Span span = chunks[task];
        for (i64 i = 0; i < vectors(span.last - span.first); ++i) sums[i] = vfloat{};
        for (int l = 0; l < g.n_levels; ++l)
            if (g.weight(l) != 0.0f) visit(l, span, sums);
        if (!grad_positions) return;
        for (i64 n = span.first; n < span.last; n += kWidth)
            for (int d = 0; d < D; ++d)
                store_strided(grad_positions + n * D + d, D, sums[(n - span.first) / kWidth * D + d], lanes(n, span.last));
    });
}

// Calls visit(Constant<D>, Constant<F>) for the run-time dimension and number of features.
template <int D, class Visit> void with_features(int n_features, const Visit& visit) {
    if (n_features == 1) visit(Constant<D>{}, Constant<1>{});
    else if (n_features == 2) visit(Constant<D>{}, Constant<2>{});
    else if (n_features == 4) visit(Constant<D>{}, Constant<4>{});
    else visit(Constant<D>{}, Constant<8>{});
}
template <int D = 1, class Visit> void with_shape(int n_dims, int n_features, const Visit& visit) {
    if constexpr (D <= 7) {
        if (n_dims == D) with_features<D>(n_features, visit);
        else with_shape<D + 1>(n_dims, n_features, visit);
    }
}

} // namespace NEURAL_ISA
} // namespace neural
