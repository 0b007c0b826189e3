// The photometric loss on the CPU. A task is a strip of columns of one channel, walked from top to bottom: pixel rows
// enter a ring, blurred down and then across they give a row of windows, whose derivatives enter a second ring; blurred
// down and across again they give a row of the gradient. All that a strip holds stays in the cache.
// Strips do not depend on the thread count and their sums are added in order.
#include "ssim.h"
#include "common/simd.h"
#include "common/threads.h"
#include "ssim.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

using ssim::kCentre;
using ssim::kReach;
using ssim::kWindow;

constexpr int kRows = kWidth == 16 ? 4 : 2; // at once: what the registers hold the sums of
constexpr int kRing = kRows + kReach;       // rows
constexpr i64 kAhead = 2 * kRows;           // rows that are asked for before they are read
constexpr i64 kStrip = 256 - kReach;        // columns of the gradient, so that windows fill whole vectors

template <class T> struct Image {
    const T* data;
    i64 stride_y, stride_x, stride_c;
    const T* at(i64 y, i64 x, i64 c) const { return data + y * stride_y + x * stride_x + c * stride_c; }
};

struct Task {
    Image<float> image;
    Image<float> target_f32;
    Image<u8> target_u8;
    const u8* mask;
    i64 height, width;
    float l1_scale, ssim_scale; // of the gradient
    float* grad;
    i64 grad_stride_y, grad_stride_x, grad_stride_c;
};

struct Sums {
    double l1, ssim;
};

// A strip: gradient columns [begin, begin + count), windows and pixels from column begin - 10 on, which is index 0.
struct Strip {
    i64 channel, begin, count;
    i64 first() const { return begin - kReach; }
    i64 windows() const { return count + kReach; }
    i64 pixels() const { return count + 2 * kReach; }
    i64 used() const { return pixels() + kWidth; } // of a row in memory, at most
};

constexpr i64 kPitch = (kStrip + 2 * kReach + kWidth - 1) / kWidth * kWidth + kWidth; // of every row in memory

struct Memory {
    float x[kRing][kPitch], y[kRing][kPitch], inside[kRing][kPitch]; // pixels; inside: 1 or 0, with a mask
    float slopes[kRing][3][kPitch];
    float down[kRows][4][kPitch]; // blurred down only
};

template <int kStride, class T> NEURAL_HD void convert(const T* from, i64 stride, i64 n, float scale, float* to) {
    const i64 step = kStride ? kStride : stride;
    for (i64 i = 0; i < n; ++i) to[i] = float(from[i * step]) * scale - ssim::kShift;
}
template <class T> void load_row(const T* from, i64 stride, i64 n, float scale, float* to) {
    switch (stride) { // of a plane, of RGB and of RGBA
    case 1: return convert<1>(from, 0, n, scale, to);
    case 3: return convert<3>(from, 0, n, scale, to);
    case 4: return convert<4>(from, 0, n, scale, to);
    default: return convert<0>(from, stride, n, scale, to);
    }
}

template <class T> void prefetch_row(const T* from, i64 stride, i64 n) {
    if (stride > 4) return; // no row in memory
    const char* end = (const char*)(from + n * stride);
    for (const char* p = (const char*)from; p < end; p += 64) __builtin_prefetch(p);
}

// The strip's columns [begin, end) that the image has in this row.
struct Range {
    i64 begin, end;
};
Range inside_image(const Task& task, const Strip& strip, i64 row) {
    const i64 begin = strip.first() < 0 ? -strip.first() : 0, rest = task.width - strip.first();
    const i64 end = rest < strip.pixels() ? rest : strip.pixels();
    return {begin, row < task.height && end > begin ? end : begin};
}

// Row `row` of the images as the strip sees it; 0 outside of them.
void load_pixels(const Task& task, const Strip& strip, i64 row, Memory& m) {
    float *x = m.x[row % kRing], *y = m.y[row % kRing], *inside = m.inside[row % kRing];
    const auto [begin, end] = inside_image(task, strip, row);
    for (i64 i = 0; i < begin; ++i) x[i] = y[i] = inside[i] = 0.0f;
    for (i64 i = end; i < strip.used(); ++i) x[i] = y[i] = inside[i] = 0.0f;
    if (begin == end) return;
    const i64 column = strip.first() + begin, n = end - begin, c = strip.channel;
    const Image<float>&image = task.image, &floats = task.target_f32;
    const Image<u8>& bytes = task.target_u8;
    load_row(image.at(row, column, c), image.stride_x, n, 1.0f, x + begin);
    if (bytes.data) load_row(bytes.at(row, column, c), bytes.stride_x, n, 1.0f / 255.0f, y + begin);
    else load_row(floats.at(row, column, c), floats.stride_x, n, 1.0f, y + begin);
    if (const i64 ahead = row + kAhead; ahead < task.height) { // a strip's rows lie too far apart for the hardware
        prefetch_row(image.at(ahead, column, c), image.stride_x, n);
        if (bytes.data) prefetch_row(bytes.at(ahead, column, c), bytes.stride_x, n);
        else prefetch_row(floats.at(ahead, column, c), floats.stride_x, n);
    }
    if (!task.mask) return;
    const u8* mask = task.mask + row * task.width + column;
    for (i64 i = 0; i < n; ++i) inside[begin + i] = mask[i] ? 1.0f : 0.0f;
    for (i64 i = begin; i < end; ++i) x[i] = inside[i] != 0.0f ? x[i] : y[i];
}

// Weighted sums of Q quantities down kRing rows, for kRows windows each a row further down, into m.down.
// read(row of the ring, column, values[Q]).
template <int Q, class Read> NEURAL_HD void blur_down(i64 top, i64 n_columns, Memory& m, const Read& read) {
    for (i64 j = 0; j < n_columns; j += kWidth) {
        vfloat sums[kRows][Q]{};
        NEURAL_UNROLL for (int i = 0; i < kRing; ++i) {
            vfloat values[Q];
            read((top + i) % kRing, j, values);
            NEURAL_UNROLL for (int r = 0; r < kRows; ++r) {
                if (i < r || i - r >= kWindow) continue;
                NEURAL_UNROLL for (int q = 0; q < Q; ++q) sums[r][q] += ssim::weight(i - r) * values[q];
            }
        }
        NEURAL_UNROLL for (int r = 0; r < kRows; ++r)
            NEURAL_UNROLL for (int q = 0; q < Q; ++q) store(m.down[r][q] + j, sums[r][q]);
    }
}

// Weighted sums of Q quantities of one row of m.down across the columns j ... j + 10 of each lane.
template <int Q> NEURAL_HD void blur_across(const Memory& m, int r, i64 j, vfloat (&sums)[Q]) {
    for (int q = 0; q < Q; ++q) sums[q] = vfloat{};
    NEURAL_UNROLL for (int k = 0; k < kWindow; ++k)
        NEURAL_UNROLL for (int q = 0; q < Q; ++q) sums[q] += ssim::weight(k) * load(m.down[r][q] + j + k);
}

NEURAL_HD vint lanes_from(i64 start) { // start, start + 1, ...
    vint v{};
    for (int i = 0; i < kWidth; ++i) v[i] = i;
    return v + i32(start);
}

// Windows of rows top ... top + kRows - 1: returns the sum of S over those that the strip owns, leaves the slopes.
template <bool kGrad> float windows(const Task& task, const Strip& strip, i64 top, Memory& m) {
    blur_down<4>(top, strip.pixels(), m, [&](i64 row, i64 j, vfloat(&v)[4]) {
        v[0] = load(m.x[row] + j);
        v[1] = load(m.y[row] + j);
        v[2] = v[0] * v[0] + v[1] * v[1];
        v[3] = v[0] * v[1];
    });
    vfloat total{};
    for (int r = 0; r < kRows; ++r) {
        const i64 row = top + r;
        for (i64 j = 0; j < strip.windows(); j += kWidth) {
            vfloat means[4];
            blur_across(m, r, j, means);
            ssim::Slopes<vfloat> slopes;
            const vfloat s =
                ssim::similarity<vfloat>({means[0], means[1], means[2], means[3]}, kGrad ? &slopes : nullptr);
            const vint index = lanes_from(j), column = index + i32(strip.first());
            vint counted = (column >= 0) & (column <= i32(task.width - kWindow));
            if (row > task.height - kWindow) counted = vint{};
            if (task.mask) counted &= load(m.inside[(row + kCentre) % kRing] + j + kCentre) != 0.0f;
            const vint owned = counted & (index >= i32(kReach)) & (index < i32(strip.windows()));
            total += owned ? s : splat(0.0f);
            if (!kGrad) continue;
            float(*to)[kPitch] = m.slopes[row % kRing];
            store(to[0] + j, counted ? slopes.mean : splat(0.0f));
            store(to[1] + j, counted ? slopes.squares : splat(0.0f));
            store(to[2] + j, counted ? slopes.product : splat(0.0f));
        }
    }
    return sum(total);
}

void store_row(float* to, i64 stride, vfloat v, i64 count) {
    const int n = count < kWidth ? int(count) : kWidth;
    if (stride == 1) store(to, v, n);
    else store_strided(to, stride, v, n);
}

// Pixels of rows top ... top + kRows - 1: returns the sum of |x - y|, writes the gradient.
template <bool kGrad> float pixels(const Task& task, const Strip& strip, i64 top, Memory& m) {
    // pixel row p lies in the windows of rows p - 10 ... p, the last of which is the newest of the ring
    if (kGrad)
        blur_down<3>(top + kRing - kReach, strip.windows(), m, [&](i64 row, i64 j, vfloat(&v)[3]) {
            for (int q = 0; q < 3; ++q) v[q] = load(m.slopes[row][q] + j);
        });
    vfloat total{};
    for (int r = 0; r < kRows && top + r < task.height; ++r) {
        const float *x = m.x[(top + r) % kRing] + kReach, *y = m.y[(top + r) % kRing] + kReach;
        const float* inside = m.inside[(top + r) % kRing] + kReach;
        float* to = task.grad + (top + r) * task.grad_stride_y + strip.channel * task.grad_stride_c;
        for (i64 j = 0; j < strip.count; j += kWidth) {
            const vfloat a = load(x + j), b = load(y + j), difference = a - b;
            total += lanes_from(j) < i32(strip.count) ? abs(difference) : splat(0.0f);
            if (!kGrad) continue;
            vfloat slopes[3];
            blur_across(m, r, j, slopes);
            const vfloat one = splat(task.l1_scale), none{};
            vfloat g = (difference > 0.0f ? one : difference < 0.0f ? -one : none) -
                       task.ssim_scale * (slopes[0] + 2.0f * a * slopes[1] + b * slopes[2]);
            if (task.mask) g = load(inside + j) != 0.0f ? g : none;
            store_row(to + (strip.begin + j) * task.grad_stride_x, task.grad_stride_x, g, strip.count - j);
        }
    }
    return sum(total);
}

template <bool kGrad> Sums walk(const Task& task, const Strip& strip, Memory& m) {
    for (i64 row = 0; row < kReach; ++row) load_pixels(task, strip, row, m);
    if (kGrad) // windows above the image
        for (auto& row : m.slopes)
            for (auto& quantity : row) __builtin_memset(quantity, 0, size_t(strip.used()) * sizeof(float));
    Sums sums{0.0, 0.0};
    for (i64 top = 0; top < task.height; top += kRows) {
        for (int r = 0; r < kRows; ++r) load_pixels(task, strip, top + kReach + r, m);
        sums.ssim += double(windows<kGrad>(task, strip, top, m));
        sums.l1 += double(pixels<kGrad>(task, strip, top, m));
    }
    return sums;
}

} // namespace

void ssim_loss(const float* image, i64 image_stride_y, i64 image_stride_x, i64 image_stride_c, const float* target_f32,
               const u8* target_u8, i64 target_stride_y, i64 target_stride_x, i64 target_stride_c, const u8* mask,
               i64 height, i64 width, i64 channels, double l1_scale, double ssim_scale, double offset, float* loss,
               float* grad, i64 grad_stride_y, i64 grad_stride_x, i64 grad_stride_c, int n_threads) {
    const Task task{{image, image_stride_y, image_stride_x, image_stride_c},
                    {target_f32, target_stride_y, target_stride_x, target_stride_c},
                    {target_u8, target_stride_y, target_stride_x, target_stride_c},
                    mask, height, width, float(l1_scale), float(ssim_scale),
                    grad, grad_stride_y, grad_stride_x, grad_stride_c};
    const i64 n_strips = (width + kStrip - 1) / kStrip, share = (width + n_strips - 1) / n_strips;
    const Scratch<Sums> sums(n_strips * channels > 0 ? n_strips * channels : 1);
    parallel_for_with<Memory>(1, n_strips * channels, n_threads, [&](i64 i, Memory* memory) {
        const i64 begin = i % n_strips * share;
        const Strip strip{i / n_strips, begin, width - begin < share ? width - begin : share};
        sums.data[i] = grad ? walk<true>(task, strip, *memory) : walk<false>(task, strip, *memory);
    });
    Sums total{0.0, 0.0};
    for (i64 i = 0; i < n_strips * channels; ++i) total.l1 += sums.data[i].l1, total.ssim += sums.data[i].ssim;
    *loss = float(l1_scale * total.l1 + (offset - ssim_scale * total.ssim));
}

} // namespace NEURAL_ISA
} // namespace neural
