// Hash grid with learned probing on the CPU, a vector of points at a time; the order of work is common/lattice.h's.
#include "probed_grid.h"
#include "common/gather.h"
#include "common/lattice.h"
#include "probed_grid.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

typedef grid::Axis<vfloat, vuint> Axis;
template <int D> constexpr int kCorners = 1 << D;

struct Books {
    int n;
    probe::Book book;
    const u8* codes;

    // Codebook of a level, -1 of a dense one.
    int of(int level, int n_levels) const { return level - (n_levels - n); }
    const u8* codes_of(int level, int n_levels) const {
        const int i = of(level, n_levels);
        return i < 0 ? nullptr : codes + (i64(i) << book.log2_codes);
    }
};

// A vector of points in one level: its axes, and per lane 0 where the point counts as outside (mode zero).
template <int D> NEURAL_HD vfloat locate(const Grid& g, const grid::Level<D>& level, i64 n, int count, Axis* axes) {
    vfloat valid = splat(1.0f), inside;
    const auto at = [](vfloat p, vuint& cell) { return whole(p, cell); };
    for (int d = 0; d < D; ++d) {
        const vfloat x = read_axis(g, n, d, count, inside, valid);
        const float scale = level.scale[d], shift = level.shift[d];
        if (g.form == grid::kLinear) axes[d] = grid::locate<grid::kLinear, vfloat, vuint>(x, scale, shift, inside, at);
        else if (g.form == grid::kSmoothstep)
            axes[d] = grid::locate<grid::kSmoothstep, vfloat, vuint>(x, scale, shift, inside, at);
        else axes[d] = grid::locate<grid::kNearest, vfloat, vuint>(x, scale, shift, inside, at);
    }
    return valid;
}

// codes[place[i]] in each lane: words of four codes, since there is no gather of bytes.
NEURAL_HD vuint gather_codes(const u8* codes, vuint place) {
#if defined(__AVX512F__)
    const vuint words = (vuint)_mm512_i32gather_epi32((__m512i)(place >> 2u), codes, 4);
    return (words >> ((place & 3u) * 8u)) & 255u;
#elif defined(__AVX2__)
    const vuint words = (vuint)_mm256_i32gather_epi32((const int*)codes, (__m256i)(place >> 2u), 4);
    return (words >> ((place & 3u) * 8u)) & 255u;
#else
    vuint code;
    for (int i = 0; i < kWidth; ++i) code[i] = codes[place[i]];
    return code;
#endif
}

// Index in its level of the entry that a corner uses; without codes the level is dense.
template <int D>
NEURAL_HD vuint entry_index(const Axis* axes, const grid::Level<D>& level, const u8* codes, probe::Book book, int c) {
    if (!codes) return wrap(grid::corner_key<D>(axes, level, c), level);
    return probe::block_start<D>(axes, level, book, c) + gather_codes(codes, probe::code_place<D>(axes, book, c));
}

template <int D, int F> void forward(const Grid& g, const Books& books, const float* table, RowsOut features, int n_threads) {
    by_levels<D, F>(g, table, 0, kCorners<D>, features, n_threads, [&](int l, const Span& span, const char* base) {
        const auto level = g.level<D>(span.table, l);
        const u8* codes = books.codes_of(l, g.n_levels);
        const float weight = g.weight(l);
        const int corners = g.form == grid::kNearest ? 1 : kCorners<D>;
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
            vfloat sum[F] = {};
            NEURAL_UNROLL
            for (int c = 0; c < corners; ++c) {
                vfloat entry[F];
                gather_entries<F>(base, 0, entry_index<D>(axes, level, codes, books.book, c), entry);
                const vfloat w = grid::corner_weight<D>(axes, c);
                for (int f = 0; f < F; ++f) sum[f] = sum[f] + w * entry[f];
            }
            for (int f = 0; f < F; ++f) features.store_lanes(n, l * F + f, sum[f] * scale, count);
        }
    });
}

// The blocks of a level, of P entries each, and their probabilities, all from the first on.
struct Blocks {
    const float *entries, *probabilities;
    float *grad_entries, *grad_probabilities;
};

// Lane by lane, for each entry of a block: its gradient += p up, that of its probability += <up, entry>.
template <int F, int P>
NEURAL_HD void add_to_blocks(const Blocks& blocks, vuint start, vuint place, const vfloat* up, int count) {
    alignas(64) u32 starts[kWidth], places[kWidth];
    alignas(64) float ups[F][kWidth];
    __builtin_memcpy(starts, &start, sizeof(start));
    __builtin_memcpy(places, &place, sizeof(place));
    for (int f = 0; f < F; ++f) store(ups[f], up[f]);
    for (int i = 0; i < count; ++i) {
        const i64 entry = i64(starts[i]) * F, row = i64(places[i]) * P;
        float entries[P * F], p[P]; // read before anything is written: what is at equal places of other pages would wait
        __builtin_memcpy(entries, blocks.entries + entry, sizeof(entries));
        __builtin_memcpy(p, blocks.probabilities + row, sizeof(p));
        float* __restrict grad_entries = blocks.grad_entries + entry;
        float* __restrict grad_p = blocks.grad_probabilities + row;
        for (int k = 0; k < P; ++k) {
            float dot = ups[0][i] * entries[k * F];
            for (int f = 1; f < F; ++f) dot += ups[f][i] * entries[k * F + f];
            grad_p[k] += dot;
        }
        for (int k = 0; k < P; ++k)
            for (int f = 0; f < F; ++f) grad_entries[k * F + f] += p[k] * ups[f][i];
    }
}
template <int F>
NEURAL_HD void add_to_blocks(int log2_probes, const Blocks& blocks, vuint start, vuint place, const vfloat* up, int count) {
    if (log2_probes == 1) add_to_blocks<F, 2>(blocks, start, place, up, count);
    else if (log2_probes == 2) add_to_blocks<F, 4>(blocks, start, place, up, count);
    else if (log2_probes == 3) add_to_blocks<F, 8>(blocks, start, place, up, count);
    else add_to_blocks<F, 16>(blocks, start, place, up, count);
}

template <int D, int F>
void backward_table(const Grid& g, const Books& books, const float* table, const float* probabilities, Rows grad,
                    Rows direction, float* grad_table, u64* touched, float* grad_probabilities, int n_threads) {
    const int n_probes = 1 << books.book.log2_probes;
    if (direction.data && g.form == grid::kNearest) return; // constant in pieces
    by_owners<D, F>(g, grad_table, touched, kCorners<D> * n_probes, n_threads,
                    [&](int l, const Span& span, float* base, Marks& marks) {
        const auto level = g.level<D>(span.table, l);
        const int book = books.of(l, g.n_levels);
        const i64 first = i64(book < 0 ? 0 : book) << (books.book.log2_codes + books.book.log2_probes);
        const Blocks blocks{table + level.offset * F, probabilities + first, base, grad_probabilities + first};
        const float weight = g.weight(l);
        const int corners = g.form == grid::kNearest ? 1 : kCorners<D>;
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            vfloat v[D], up[F];
            const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
            for (int d = 0; direction.data && d < D; ++d) v[d] = direction.load_lanes(n, d, count);
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale; // 0 past the end
            for (int c = 0; c < corners; ++c) {
                const vfloat w = direction.data ? grid::directional<D>(axes, c, v) : grid::corner_weight<D>(axes, c);
                vfloat add[F];
                for (int f = 0; f < F; ++f) add[f] = w * up[f];
                if (book < 0) {
                    const vuint index = wrap(grid::corner_key<D>(axes, level, c), level);
                    scatter_add_entries<F>(base, index, add);
                    if (marks.blocks) marks.add(index, level.offset, count);
                    continue;
                }
                const vuint start = probe::block_start<D>(axes, level, books.book, c);
                const vuint place = probe::code_place<D>(axes, books.book, c);
                add_to_blocks<F>(books.book.log2_probes, blocks, start, place, add, count);
                if (marks.blocks) { // a block may lie across two runs of 64
                    marks.add(start, level.offset, count);
                    marks.add(start + u32(n_probes - 1), level.offset, count);
                }
            }
        }
    });
}

template <int D, int F>
void backward_positions(const Grid& g, const Books& books, const float* table, Rows grad, float* grad_positions, int n_threads) {
    by_chunks<D>(g, grad_positions, n_threads, [&](int l, const Span& span, vfloat* sums) {
        if (g.form == grid::kNearest) return;
        const auto level = g.level<D>(span.table, l);
        const u8* codes = books.codes_of(l, g.n_levels);
        for (i64 n = span.first; n < span.last; n += kWidth, sums += D) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * g.weight(l);
            vfloat up[F];
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
            for (int c = 0; c < kCorners<D>; ++c) {
                vfloat entry[F];
                gather_entries<F>(table + level.offset * F, 0, entry_index<D>(axes, level, codes, books.book, c), entry);
                vfloat dot = up[0] * entry[0];
                for (int f = 1; f < F; ++f) dot = dot + up[f] * entry[f];
                grid::add_weight_gradient<D>(axes, c, dot, sums);
            }
        }
    });
}

template <int D, int F>
void backward_backward(const Grid& g, const Books& books, const float* table, Rows grad, Rows direction,
                       RowsOut grad_grad, float* grad_positions, int n_threads) {
    by_chunks<D>(g, grad_positions, n_threads, [&](int l, const Span& span, vfloat* sums) {
        const auto level = g.level<D>(span.table, l);
        const u8* codes = books.codes_of(l, g.n_levels);
        for (i64 n = span.first; n < span.last; n += kWidth, sums += D) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            const vfloat scale = locate<D>(g, level, n, count, axes) * g.weight(l);
            vfloat v[D], up[F], gg[F] = {};
            for (int d = 0; d < D; ++d) v[d] = direction.load_lanes(n, d, count);
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale;
            for (int c = 0; c < (g.form == grid::kNearest ? 0 : kCorners<D>); ++c) {
                vfloat entry[F];
                gather_entries<F>(table + level.offset * F, 0, entry_index<D>(axes, level, codes, books.book, c), entry);
                const vfloat s = grid::directional<D>(axes, c, v);
                vfloat dot{};
                for (int f = 0; f < F; ++f) {
                    gg[f] = gg[f] + s * entry[f];
                    dot = dot + up[f] * entry[f];
                }
                grid::add_directional_gradient<D>(axes, c, v, dot, sums);
            }
            for (int f = 0; f < F; ++f) grad_grad.store_lanes(n, l * F + f, gg[f] * scale, count);
        }
    });
    clear_skipped<F>(g, grad_grad);
}

// Calls visit(Constant<D>, Constant<F>), D at most kMaxDims.
template <int D = 1, class Visit> void with_probed_shape(int n_dims, int n_features, const Visit& visit) {
    if constexpr (D <= probe::kMaxDims) {
        if (n_dims == D) with_features<D>(n_features, visit);
        else with_probed_shape<D + 1>(n_dims, n_features, visit);
    }
}

// The grid of one sub-table; `bounds` are those of its points.
Grid grid_of(const Turned& turned, const i64* levels, const i64 (&bounds)[2], int n_levels, const float* level_weights,
             int interpolation, int outside) {
    return {turned.rows, levels, bounds, 1, n_levels, level_weights, interpolation, outside};
}

} // namespace

void probed_grid_forward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes,
                         i64 n_points, const i64* levels, int n_levels, int n_dims, int n_features, int n_books,
                         int log2_codes, int log2_probes, const float* level_weights, int interpolation, int outside,
                         float* features, i64 feat_n, i64 feat_k, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned(positions, pos_n, pos_k, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, codes};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        forward<decltype(d)::value, decltype(f)::value>(g, books, table, {features, feat_n, feat_k}, n_threads);
    });
}

void probed_grid_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* table,
                                const float* probabilities, const float* grad, i64 grad_n, i64 grad_k,
                                const float* direction, i64 dir_n, i64 dir_k, i64 n_points, const i64* levels,
                                int n_levels, int n_dims, int n_features, int n_books, int log2_codes, int log2_probes,
                                const float* level_weights, int interpolation, int outside, float* grad_table,
                                u64* touched, float* grad_probabilities, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned(positions, pos_n, pos_k, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, nullptr};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_table<decltype(d)::value, decltype(f)::value>(g, books, table, probabilities, {grad, grad_n, grad_k},
                                                               {direction, dir_n, dir_k}, grad_table, touched,
                                                               grad_probabilities, n_threads);
    });
}

void probed_grid_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes,
                                    const float* grad, i64 grad_n, i64 grad_k, i64 n_points, const i64* levels,
                                    int n_levels, int n_dims, int n_features, int n_books, int log2_codes,
                                    int log2_probes, const float* level_weights, int interpolation, int outside,
                                    float* grad_positions, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned(positions, pos_n, pos_k, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, codes};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_positions<decltype(d)::value, decltype(f)::value>(g, books, table, {grad, grad_n, grad_k},
                                                                   grad_positions, n_threads);
    });
}

void probed_grid_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes,
                                   const float* grad, i64 grad_n, i64 grad_k, const float* direction, i64 dir_n,
                                   i64 dir_k, i64 n_points, const i64* levels, int n_levels, int n_dims, int n_features,
                                   int n_books, int log2_codes, int log2_probes, const float* level_weights,
                                   int interpolation, int outside, float* grad_grad, i64 gg_n, i64 gg_k,
                                   float* grad_positions, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned(positions, pos_n, pos_k, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, codes};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        backward_backward<decltype(d)::value, decltype(f)::value>(g, books, table, {grad, grad_n, grad_k},
                                                                  {direction, dir_n, dir_k}, {grad_grad, gg_n, gg_k},
                                                                  grad_positions, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
