// Hash grid on the CPU. The forward pass and the table's gradient go level by level: a level's entries stay near the
// cache while all points pass. One task owns a level in the table's gradient, so there are no atomics and sums have one
// order. The gradient to positions goes by chunks of points, levels in order.
#include "hash_grid.h"
#include "common/features.h"
#include "common/gather.h"
#include "common/threads.h"
#include "hash_grid.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 8192;      // points per task of one level
constexpr i64 kWideChunk = 65536; // points per task of all levels: a level's entries are used often before the next level

struct Grid {
    Rows positions;
    const i64* levels;
    const i64* segments;
    i64 n_tables;
    int n_levels;
    const float* level_weights;
    int interpolation, outside;

    i64 n_points() const { return segments[n_tables]; }
    float weight(int level) const { return level_weights ? level_weights[level] : 1.0f; }
    template <int D> const i64* row(i64 table, int l) const {
        return levels + (table * n_levels + l) * grid::kRowLength<D>;
    }
    template <int D> grid::Level<D> level(i64 table, int l) const {
        return grid::read_level<D>(row<D>(table, l));
    }
};

// Positions with each axis contiguous: every level reads them, so rows [N, D] are turned once.
struct Turned {
    Scratch<float> memory;
    Rows rows;

    Turned(const float* positions, i64 stride_n, i64 stride_k, i64 n, int n_dims, int n_threads)
        : memory(stride_n == 1 ? 0 : n * n_dims), rows{positions, stride_n, stride_k} {
        if (stride_n == 1) return;
        parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
            const i64 end = (chunk + 1) * kChunk < n ? (chunk + 1) * kChunk : n;
            for (int d = 0; d < n_dims; ++d)
                for (i64 i = chunk * kChunk; i < end; ++i) memory.data[d * n + i] = positions[i * stride_n + d * stride_k];
        });
        rows = {memory.data, 1, n};
    }
};

// Points first .. last-1, all of one sub-table.
struct Span {
    i64 table, first, last;
};

// The k-th chunk when every segment is cut into chunks of `size`.
Span nth_chunk(const Grid& g, i64 size, i64 k) {
    for (i64 t = 0;; ++t) {
        const i64 first = g.segments[t], last = g.segments[t + 1];
        const i64 chunks = (last - first + size - 1) / size;
        if (k < chunks) {
            const i64 begin = first + k * size;
            return {t, begin, begin + size < last ? begin + size : last};
        }
        k -= chunks;
    }
}
i64 count_chunks(const Grid& g, i64 size) {
    i64 n = 0;
    for (i64 t = 0; t < g.n_tables; ++t) n += (g.segments[t + 1] - g.segments[t] + size - 1) / size;
    return n;
}

typedef grid::Axis<vfloat, vuint> Axis;

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

// A vector of points in one level: its axes, and per lane 0 where the point counts as outside (mode zero).
template <int D> NEURAL_HD vfloat locate(const Grid& g, const grid::Level<D>& level, i64 n, int count, Axis* axes) {
    vfloat valid = splat(1.0f);
    const auto whole = [](vfloat p, vuint& cell) {
        const vfloat f = floor(p);
        cell = (vuint)to_int(max(min(f, splat(grid::kFarthestCell)), splat(-grid::kFarthestCell)));
        return f;
    };
    for (int d = 0; d < D; ++d) {
        vfloat x = g.positions.load_lanes(n, d, count);
        vfloat inside = splat(1.0f);
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
        if (g.interpolation == grid::kLinear) axes[d] = grid::locate<grid::kLinear, vfloat, vuint>(x, level.scale[d], level.shift[d], inside, whole);
        else if (g.interpolation == grid::kSmoothstep)
            axes[d] = grid::locate<grid::kSmoothstep, vfloat, vuint>(x, level.scale[d], level.shift[d], inside, whole);
        else axes[d] = grid::locate<grid::kNearest, vfloat, vuint>(x, level.scale[d], level.shift[d], inside, whole);
    }
    return valid;
}

template <int D> constexpr int kCorners = 1 << D;

// Asks for a level's lines in order before they are used at random, if most of them will be: a tenth faster.
template <int Write> void stream_in(const char* base, i64 bytes, i64 n_uses) {
    if (n_uses < bytes / 64) return;
    for (i64 i = 0; i < bytes; i += 64) __builtin_prefetch(base + i, Write, 2);
}

template <int D, int F> void forward(const Grid& g, const void* table, int dtype, RowsOut features, int n_threads) {
    const i64 n_chunks = count_chunks(g, kChunk);
    parallel_for(g.n_levels * n_chunks, n_threads, [&](i64 task) {
        const int l = g.n_levels - 1 - int(task / n_chunks);
        const Span span = nth_chunk(g, kChunk, task % n_chunks);
        const float weight = g.weight(l);
        if (weight == 0.0f) {
            for (i64 n = span.first; n < span.last; n += kWidth) {
                const int count = span.last - n < kWidth ? int(span.last - n) : kWidth;
                for (int f = 0; f < F; ++f) features.store_lanes(n, l * F + f, vfloat{}, count);
            }
            return;
        }
        const auto level = g.level<D>(span.table, l);
        const char* base = (const char*)table + level.offset * F * (dtype == 0 ? 4 : 2);
        if (span.first == g.segments[span.table]) // of several sub-tables each
            stream_in<0>(base, i64(level.size) * F * (dtype == 0 ? 4 : 2), (g.segments[span.table + 1] - span.first) << D);
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = span.last - n < kWidth ? int(span.last - n) : kWidth;
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
            vfloat sum[F] = {};
            const int corners = g.interpolation == grid::kNearest ? 1 : kCorners<D>;
            NEURAL_UNROLL
            for (int c = 0; c < corners; ++c) {
                vfloat entry[F];
                gather_entries<F>(base, dtype, wrap(grid::corner_key<D>(axes, level, c), level), entry);
                const vfloat w = grid::corner_weight<D>(axes, c);
                for (int f = 0; f < F; ++f) sum[f] = sum[f] + w * entry[f];
            }
            for (int f = 0; f < F; ++f) features.store_lanes(n, l * F + f, sum[f] * scale, count);
        }
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
    void add(vuint index, i64 offset, int count) {
        for (int i = 0; i < count; ++i) blocks[((offset + index[i]) >> 6) - first] = 1;
    }
    void end(u64* touched) {
        if (!blocks) return;
        for (i64 b = 0; b < n; ++b)
            if (blocks[b]) set(touched, b);
        __builtin_free(blocks);
    }
};

// The points of one sub-table in one level.
template <int D, int F, class Coefficient>
void add_points(const Grid& g, i64 table, int l, Rows grad, float* base, Marks& marks, const Coefficient& coefficient) {
    const auto level = g.level<D>(table, l);
    const float weight = g.weight(l);
    const int corners = g.interpolation == grid::kNearest ? 1 : kCorners<D>;
    const i64 last = g.segments[table + 1];
    for (i64 n = g.segments[table]; n < last; n += kWidth) {
        const int count = last - n < kWidth ? int(last - n) : kWidth;
        Axis axes[D];
        const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
        vfloat up[F];
        for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale; // 0 past the end
        NEURAL_UNROLL
        for (int c = 0; c < corners; ++c) {
            const vuint index = wrap(grid::corner_key<D>(axes, level, c), level);
            const vfloat w = coefficient(axes, c, n, count);
            vfloat add[F];
            for (int f = 0; f < F; ++f) add[f] = w * up[f];
            scatter_add_entries<F>(base, index, add);
            if (marks.blocks) marks.add(index, level.offset, count);
        }
    }
}

// Adds sum over corners of coefficient(axes, corner, lanes) * grad to the table, one task per level and sub-table;
// where neighbouring sub-tables share a level's entries, the first one's task adds for all of them.
template <int D, int F, class Coefficient>
void add_to_table(const Grid& g, Rows grad, float* grad_table, u64* touched, int n_threads, const Coefficient& coefficient) {
    const auto shares = [&](i64 t, int l) { return g.row<D>(t, l)[0] == g.row<D>(t - 1, l)[0]; };
    parallel_for(g.n_tables * g.n_levels, n_threads, [&](i64 task) {
        const int l = g.n_levels - 1 - int(task / g.n_tables);
        const i64 t = task % g.n_tables;
        if (t > 0 && shares(t, l)) return;
        i64 end = t + 1;
        while (end < g.n_tables && shares(end, l)) ++end;
        const float weight = g.weight(l);
        const i64 n_points = g.segments[end] - g.segments[t];
        if (weight == 0.0f || n_points == 0) return;
        const i64 offset = g.row<D>(t, l)[0], size = g.row<D>(t, l)[1];
        float* base = grad_table + offset * F;
        stream_in<1>((const char*)base, size * F * 4, n_points << D);
        Marks marks;
        marks.begin(touched, offset, u32(size));
        for (i64 table = t; table < end; ++table)
            add_points<D, F>(g, table, l, grad, base, marks, coefficient);
        marks.end(touched);
    });
}

// Runs visit(level index, level, axes, scale, n, count, sums) for every vector of points, levels in order within a chunk,
// then stores the D sums of each point to grad_positions unless that is null.
template <int D, class Visit>
void by_chunks(const Grid& g, float* grad_positions, int n_threads, const Visit& visit) {
    const auto vectors = [](i64 points) { return (points + kWidth - 1) / kWidth * D; };
    const i64 length = vectors(g.n_points() < kWideChunk ? g.n_points() : kWideChunk);
    parallel_for_with<vfloat>(length, count_chunks(g, kWideChunk), n_threads, [&](i64 task, vfloat* sums) {
        const Span span = nth_chunk(g, kWideChunk, task);
        for (i64 i = 0; i < vectors(span.last - span.first); ++i) sums[i] = vfloat{};
        for (int l = 0; l < g.n_levels; ++l) {
            if (g.weight(l) == 0.0f) continue;
            const auto level = g.level<D>(span.table, l);
            for (i64 n = span.first; n < span.last; n += kWidth) {
                const int count = span.last - n < kWidth ? int(span.last - n) : kWidth;
                Axis axes[D];
                const vfloat scale = locate<D>(g, level, n, count, axes) * g.weight(l);
                visit(l, level, axes, scale, n, count, sums + (n - span.first) / kWidth * D);
            }
        }
        if (!grad_positions) return;
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = span.last - n < kWidth ? int(span.last - n) : kWidth;
            for (int d = 0; d < D; ++d)
                store_strided(grad_positions + n * D + d, D, sums[(n - span.first) / kWidth * D + d], count);
        }
    });
}

template <int D, int F>
void backward_positions(const Grid& g, const void* table, int dtype, Rows grad, float* grad_positions, int n_threads) {
    by_chunks<D>(g, grad_positions, n_threads,
                 [&](int l, const grid::Level<D>& level, const Axis* axes, vfloat scale, i64 n, int count, vfloat* sums) {
        if (g.interpolation == grid::kNearest) return; // piecewise constant
        const char* base = (const char*)table + level.offset * F * (dtype == 0 ? 4 : 2);
        vfloat up[F];
        for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
        NEURAL_UNROLL
        for (int c = 0; c < kCorners<D>; ++c) {
            vfloat entry[F];
            gather_entries<F>(base, dtype, wrap(grid::corner_key<D>(axes, level, c), level), entry);
            vfloat dot = up[0] * entry[0];
            for (int f = 1; f < F; ++f) dot = dot + up[f] * entry[f];
            grid::add_weight_gradient<D>(axes, c, dot, sums);
        }
    });
}

template <int D, int F>
void backward_backward(const Grid& g, const float* table, Rows grad, Rows direction, float* grad_table, RowsOut grad_grad,
                       float* grad_positions, int n_threads) {
    const auto along = [&](i64 n, int count, vfloat* v) {
        for (int d = 0; d < D; ++d) v[d] = direction.load_lanes(n, d, count);
    };
    const bool flat = g.interpolation == grid::kNearest;
    if (grad_table && !flat)
        add_to_table<D, F>(g, grad, grad_table, nullptr, n_threads, [&](const Axis* axes, int c, i64 n, int count) {
            vfloat v[D];
            along(n, count, v);
            return grid::directional<D>(axes, c, v);
        });
    if (!grad_grad.data && !grad_positions) return;
    by_chunks<D>(g, grad_positions, n_threads,
                 [&](int l, const grid::Level<D>& level, const Axis* axes, vfloat scale, i64 n, int count, vfloat* sums) {
        const float* base = table + level.offset * F;
        vfloat v[D], up[F], gg[F] = {};
        along(n, count, v);
        for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
        for (int c = 0; c < (flat ? 0 : kCorners<D>); ++c) {
            vfloat entry[F];
            gather_entries<F>(base, 0, wrap(grid::corner_key<D>(axes, level, c), level), entry);
            const vfloat s = grid::directional<D>(axes, c, v);
            vfloat dot{};
            for (int f = 0; f < F; ++f) {
                gg[f] = gg[f] + s * entry[f];
                dot = dot + up[f] * entry[f];
            }
            if (grad_positions) grid::add_directional_gradient<D>(axes, c, v, dot, sums);
        }
        if (grad_grad.data)
            for (int f = 0; f < F; ++f) grad_grad.store_lanes(n, l * F + f, gg[f] * scale, count);
    });
    if (!grad_grad.data) return;
    for (int l = 0; l < g.n_levels; ++l) // levels that were skipped
        if (g.weight(l) == 0.0f)
            for (i64 n = 0; n < g.n_points(); ++n)
                for (int f = 0; f < F; ++f) grad_grad.data[n * grad_grad.stride_n + (l * F + f) * grad_grad.stride_k] = 0.0f;
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

} // namespace

void hash_grid_forward(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                       const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims, int n_features,
                       const float* level_weights, int interpolation, int outside, float* features, i64 feat_n,
                       i64 feat_k, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        forward<decltype(d)::value, decltype(f)::value>(g, table, table_dtype, {features, feat_n, feat_k}, n_threads);
    });
}

void hash_grid_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* grad, i64 grad_n, i64 grad_k,
                              const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                              int n_features, const float* level_weights, int interpolation, int outside,
                              float* grad_table, u64* touched, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        add_to_table<D, decltype(f)::value>(
            g, {grad, grad_n, grad_k}, grad_table, touched, n_threads,
            [](const Axis* axes, int c, i64, int) { return grid::corner_weight<D>(axes, c); });
    });
}

void hash_grid_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const void* table, int table_dtype,
                                  const float* grad, i64 grad_n, i64 grad_k, const i64* levels, const i64* segments,
                                  i64 n_tables, int n_levels, int n_dims, int n_features, const float* level_weights,
                                  int interpolation, int outside, float* grad_positions, int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_positions<decltype(d)::value, decltype(f)::value>(g, table, table_dtype, {grad, grad_n, grad_k},
                                                                   grad_positions, n_threads);
    });
}

void hash_grid_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const float* grad,
                                 i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k,
                                 const i64* levels, const i64* segments, i64 n_tables, int n_levels, int n_dims,
                                 int n_features, const float* level_weights, int interpolation, int outside,
                                 float* grad_table, float* grad_grad, i64 gg_n, i64 gg_k, float* grad_positions,
                                 int n_threads) {
    const Turned turned(positions, pos_n, pos_k, segments[n_tables], n_dims, n_threads);
    const Grid g{turned.rows, levels, segments, n_tables, n_levels, level_weights, interpolation, outside};
    with_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_backward<decltype(d)::value, decltype(f)::value>(g, table, {grad, grad_n, grad_k},
                                                                  {direction, dir_n, dir_k}, grad_table,
                                                                  {grad_grad, gg_n, gg_k}, grad_positions, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
