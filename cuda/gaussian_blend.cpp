// Gaussian blending on the CPU: lanes are pixels of a 4x4 block, tiles are handed to threads. Backward leaves the
// moments of every pair in a slot of its own; slots of a Gaussian lie together and are added in the order of its tiles,
// so results do not depend on the thread count.
#include "gaussian_blend.h"
#include "common/features.h"
#include "gaussian_slots.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 1024; // Gaussians of a task

// Calls visit(Constant<C>) with C = n_channels for the usual numbers of channels and 0 for others.
template <class Visit> void with_channels(i64 n_channels, const Visit& visit) {
    switch (n_channels) {
    case 1: return visit(Constant<1>{});
    case 3: return visit(Constant<3>{});
    case 4: return visit(Constant<4>{});
    default: return visit(Constant<0>{});
    }
}

template <int C>
void forward(const Lists& lists, const Tile& tile, i64 n_channels, const float* background, i64 width, i64 height,
             float* colors, float* alphas, float* left_over, u16* hits, Plane* planes) {
    const i64 channels = C > 0 ? C : n_channels;
    for (i64 k = 0; k < channels; ++k)
        for (int block = 0; block < kBlocks; ++block)
            for (int pixel = 0; pixel < kBlockPixels; ++pixel) planes[k][block][pixel] = 0.0f;
    Left left(tile);
    const Centres centres(tile);
    for (i64 pair = tile.begin; pair < tile.end; ++pair) hits[pair] = 0;
    walk(lists, tile, left, [&](const Batch& batch, int block, const i32* list, int n) {
        for (int part = 0; part < kParts; ++part) {
            float* at = left.now[block] + part * kWidth;
            const vfloat x = centres.x[block % 4], y = centres.y[block / 4][part];
            vfloat before = load(at), sums[C > 0 ? C : 1];
            NEURAL_UNROLL for (int k = 0; k < C; ++k) sums[k] = load(planes[k][block] + part * kWidth);
            for (int i = 0; i < n; ++i) {
                const float* record = batch.records[list[i]];
                const Layer found = layer(record, x, y, before);
                // a pixel's end counts too: backward has to see it
                hits[batch.first + list[i]] |= u16(u32((bits(found.kept) | bits(found.stopped)) != 0) << block);
                NEURAL_UNROLL for (int k = 0; k < C; ++k) sums[k] += found.weight * record[kGeometry + k];
                if constexpr (C == 0)
                    for (i64 k = 0; k < channels; ++k) {
                        float* sum = planes[k][block] + part * kWidth;
                        store(sum, load(sum) + found.weight * record[kGeometry + k]);
                    }
                if (bits(found.stopped) && left.stop(block, part, found.stopped, before)) break;
            }
            store(at, before);
            NEURAL_UNROLL for (int k = 0; k < C; ++k) store(planes[k][block] + part * kWidth, sums[k]);
        }
    });
    Plane &alpha = planes[channels], &end = planes[channels + 1];
    for (int block = 0; block < kBlocks; ++block)
        for (int part = 0; part < kParts; ++part) {
            const vfloat rest = left.last(block, part);
            store(end[block] + part * kWidth, rest);
            store(alpha[block] + part * kWidth, 1.0f - rest);
            for (i64 k = 0; k < channels && background; ++k) {
                float* sum = planes[k][block] + part * kWidth;
                store(sum, load(sum) + rest * background[k]);
            }
        }
    for (i64 k = 0; k < channels; ++k) put(planes[k], tile, width, colors + k * width * height);
    put(alpha, tile, width, alphas);
    put(end, tile, width, left_over);
}

// A slot: the moments of v, the sums of |dL/d centre| for absgrad, and dL/d features.
constexpr int kMoments = 8;
template <int C> using PairSlot = Slot<kMoments, C>;

struct Upstream {
    const float *colors, *left, *grad_colors, *grad_alphas;
};

// Leaves the slots of a tile's pairs, and its share of the background's gradient.
template <int C, bool kAbsolute>
void backward(const Lists& lists, const Tile& tile, i64 n_channels, const Upstream& up, const i32* slots,
              const u16* hits, i64 width, i64 height, float* sums, float* grad_background, Plane* planes) {
    const i64 channels = C > 0 ? C : n_channels, n_vectors = PairSlot<C>::vectors(n_channels);
    Plane* grad = planes; // [channels]
    Plane &behind = planes[channels], &value = planes[channels + 1], &weights = planes[channels + 2];
    // behind begins as everything: g . C - g_alpha T_end
    take(up.left, tile, width, weights);
    take(up.grad_alphas, tile, width, behind);
    for (int i = 0; i < kBlocks; ++i)
        for (int j = 0; j < kBlockPixels; ++j) behind[i][j] *= -weights[i][j];
    for (i64 k = 0; k < channels; ++k) {
        take(up.grad_colors ? up.grad_colors + k * width * height : nullptr, tile, width, grad[k]);
        take(up.colors + k * width * height, tile, width, value);
        vfloat total{};
        for (int i = 0; i < kBlocks; ++i)
            for (int j = 0; j < kBlockPixels; j += kWidth) {
                const vfloat g = load(grad[k][i] + j);
                store(behind[i] + j, load(behind[i] + j) + g * load(value[i] + j));
                total += g * load(weights[i] + j);
            }
        if (grad_background) grad_background[k] = sum(total);
    }
    Left left(tile);
    const Centres centres(tile);
    for (i64 pair = tile.begin; pair < tile.end; ++pair) {
        if (pair + kAhead < tile.end) __builtin_prefetch(lists.records + lists.gaussians[pair + kAhead] * lists.stride);
        const u32 shown = hits[pair];
        float* slot = sums + slots[pair] * n_vectors * kWidth;
        if (!shown) {
            for (i64 j = 0; j < n_vectors; ++j) store(slot + j * kWidth, splat(0.0f));
            continue;
        }
        const float* record = lists.records + lists.gaussians[pair] * lists.stride;
        vfloat q[PairSlot<C>::parts * kWidth]{};
        for (u32 rest = shown; rest; rest &= rest - 1) {
            const int block = __builtin_ctz(rest);
            for (int part = 0; part < kParts; ++part) {
                const int at = part * kWidth;
                vfloat before = load(left.now[block] + at);
                const Layer found = layer(record, centres.x[block % 4], centres.y[block / 4][part], before);
                store(left.now[block] + at, select(found.stopped, splat(0.0f), before));
                vfloat own{};
                NEURAL_UNROLL for (i64 k = 0; k < channels; ++k) {
                    const vfloat g = load(grad[k][block] + at);
                    own += g * record[kGeometry + k];
                    if constexpr (C > 0) q[kMoments + k] += found.weight * g;
                }
                if constexpr (C == 0) store(weights[block] + at, found.weight);
                const vfloat after = load(behind[block] + at) - found.weight * own;
                store(behind[block] + at, after);
                const vmask free = without(found.kept, above(found.alpha, splat(blending::kMaxAlpha)));
                const vfloat v = or_zero(free, blending::slope(found.weight, found.alpha, own, after,
                                                               inverse(1.0f - found.alpha)));
                const vfloat x = v * found.dx, y = v * found.dy;
                q[0] += v;
                q[1] += x;
                q[2] += y;
                q[3] += x * found.dx;
                q[4] += x * found.dy;
                q[5] += y * found.dy;
                if constexpr (kAbsolute) {
                    q[6] += abs(2.0f * record[2] * x + record[3] * y);
                    q[7] += abs(record[3] * x + 2.0f * record[4] * y);
                }
            }
        }
        PairSlot<C>::store_sums(q, slot);
        if constexpr (C == 0)
            store_feature_sums(weights, grad, channels, shown, slot + PairSlot<C>::parts * kWidth);
    }
}

struct Outputs {
    float *means2d, *conics, *opacities, *features, *absolute;
};

// Adds the slots of kWidth Gaussians from n on, and turns moments into gradients.
template <int C, bool kAbsolute>
void gather(const Lists& lists, i64 n, i64 n_gaussians, i64 n_channels, const i64* starts, const float* sums,
            const Outputs& out) {
    const i64 n_vectors = PairSlot<C>::vectors(n_channels), count = n_gaussians - n;
    const int here = count < kWidth ? int(count) : kWidth;
    vfloat q[PairSlot<C>::parts * kWidth];
    const Slots slots{sums, starts, n_vectors};
    NEURAL_UNROLL for (int j = 0; j < PairSlot<C>::parts; ++j) {
        vfloat rows[kWidth];
        slots.add(n, here, j, rows);
        NEURAL_UNROLL for (int i = 0; i < kWidth; ++i) q[j * kWidth + i] = rows[sum_lane(i)];
    }
    vfloat geometry[4]{}; // a, b, c, l; 0 where nothing shows: culled Gaussians may have anything
    for (int i = 0; i < here; ++i)
        if (starts[n + i] < starts[n + i + 1])
            for (int k = 0; k < 4; ++k) geometry[k][i] = lists.records[(n + i) * lists.stride + 2 + k];
    const auto g = blending::gradients<vfloat>({q[0], q[1], q[2], q[3], q[4], q[5]}, geometry[0], geometry[1],
                                               geometry[2], exp2(-geometry[3]));
    const auto write = [&](float* to, vfloat v) { store(to + n, v, here); };
    write(out.means2d, g.mean_x);
    write(out.means2d + n_gaussians, g.mean_y);
    write(out.conics, g.a);
    write(out.conics + n_gaussians, g.b);
    write(out.conics + 2 * n_gaussians, g.c);
    write(out.opacities, g.opacity);
    if constexpr (kAbsolute) {
        const vfloat norm = ellipse::kLn2 * sqrt(q[6] * q[6] + q[7] * q[7]);
        write(out.absolute, load(out.absolute + n, here) + norm);
    }
    if constexpr (C > 0) {
        NEURAL_UNROLL for (int k = 0; k < C; ++k) write(out.features + k * n_gaussians, q[kMoments + k]);
    } else {
        slots.add_features(n, here, PairSlot<C>::parts, n_channels, n_gaussians, out.features);
    }
}

} // namespace

void gaussian_blend_pack(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                         i64 c_stride_k, const float* opacities, const float* features, i64 f_stride_n,
                         i64 f_stride_k, i64 n, i64 n_channels, float* records, int n_threads) {
    const Rows mean{means2d, m_stride_n, m_stride_k}, conic{conics, c_stride_n, c_stride_k};
    const Rows feature{features, f_stride_n, f_stride_k};
    const i64 stride = record_stride(n_channels), used = (kGeometry + n_channels + kWidth - 1) / kWidth * kWidth;
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = (chunk + 1) * kChunk < n ? (chunk + 1) * kChunk : n;
        for (i64 i = chunk * kChunk; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const vfloat a = -0.5f * ellipse::kLog2E * conic.load_lanes(i, 0, count);
            const vfloat b = -ellipse::kLog2E * conic.load_lanes(i, 1, count);
            const vfloat c = -0.5f * ellipse::kLog2E * conic.load_lanes(i, 2, count);
            const vfloat l = ellipse::kLog2E * log(load(opacities + i, count));
            const vfloat geometry[kGeometry] = {mean.load_lanes(i, 0, count), mean.load_lanes(i, 1, count), a, b, c, l,
                                                -0.5f * b / a, -0.5f * b / c};
            for (i64 first = 0; first < used; first += kWidth) {
                vfloat rows[kWidth];
                for (int k = 0; k < kWidth; ++k) {
                    const i64 at = first + k;
                    rows[k] = at < kGeometry                ? geometry[at]
                              : at < kGeometry + n_channels ? feature.load_lanes(i, at - kGeometry, count)
                                                            : splat(0.0f);
                }
                transpose(rows);
                for (int j = 0; j < count; ++j) store(records + (i + j) * stride + first, rows[j]);
            }
        }
    });
}

void gaussian_blend_forward(const float* records, i64 n_channels, const float* background, const i64* offsets,
                            const i32* gaussians, i64 width, i64 height, float* colors, float* alphas, float* left,
                            u16* hits, int n_threads) {
    const Lists lists{records, record_stride(n_channels), offsets, gaussians};
    with_channels(n_channels, [&](auto c) {
        parallel_for_with<Plane>(n_channels + 2, tile_count(width, height), n_threads, [&](i64 index, Plane* planes) {
            const Tile tile(lists, width, height, index);
            forward<decltype(c)::value>(lists, tile, n_channels, background, width, height, colors, alphas, left, hits,
                                        planes);
        });
    });
}

void gaussian_blend_backward(const float* records, i64 n, i64 n_channels, const i64* offsets, const i32* gaussians,
                             const i64* starts, const i32* slots, const u16* hits, i64 width, i64 height,
                             const float* colors, const float* left, const float* grad_colors,
                             const float* grad_alphas, float* grad_means2d, float* grad_conics,
                             float* grad_opacities, float* grad_features, float* grad_background, float* absolute,
                             int n_threads) {
    const Lists lists{records, record_stride(n_channels), offsets, gaussians};
    const Upstream up{colors, left, grad_colors, grad_alphas};
    const Outputs out{grad_means2d, grad_conics, grad_opacities, grad_features, absolute};
    const i64 n_tiles = tile_count(width, height);
    const Scratch<float> shares(grad_background ? n_tiles * n_channels : 0);
    const auto run = [&](auto c, auto with_absolute) {
        constexpr int C = decltype(c)::value;
        constexpr bool kAbsolute = decltype(with_absolute)::value;
        const Scratch<float> sums(offsets[n_tiles] * PairSlot<C>::vectors(n_channels) * kWidth);
        parallel_for_with<Plane>(n_channels + 3, n_tiles, n_threads, [&](i64 index, Plane* planes) {
            const Tile tile(lists, width, height, index);
            backward<C, kAbsolute>(lists, tile, n_channels, up, slots, hits, width, height, sums.data,
                                   grad_background ? shares.data + index * n_channels : nullptr, planes);
        });
        parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
            const i64 end = (chunk + 1) * kChunk < n ? (chunk + 1) * kChunk : n;
            for (i64 i = chunk * kChunk; i < end; i += kWidth)
                gather<C, kAbsolute>(lists, i, n, n_channels, starts, sums.data, out);
        });
    };
    with_channels(n_channels, [&](auto c) { absolute ? run(c, Constant<1>{}) : run(c, Constant<0>{}); });
    for (i64 k = 0; k < n_channels && grad_background; ++k) {
        float total = 0.0f;
        for (i64 index = 0; index < n_tiles; ++index) total += shares.data[index * n_channels + k];
        grad_background[k] = total;
    }
}

} // namespace NEURAL_ISA
} // namespace neural
