// Rows to lanes and back: kWidth rows of a row-major matrix as columns, one vector each.
#pragma once
#include "scan.h"

namespace neural {
namespace NEURAL_ISA {

template <int... I> struct Lanes {};
template <int N, int... I> struct CountLanes : CountLanes<N - 1, N - 1, I...> {};
template <int... I> struct CountLanes<0, I...> {
    typedef Lanes<I...> type;
};
typedef typename CountLanes<kWidth>::type AllLanes;

// Lane i takes lane Pick::from(i) of the 2 kWidth lanes of a and b.
template <class Pick, int... I> NEURAL_HD vfloat pick(vfloat a, vfloat b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, Pick::from(I)...);
}
template <class Pick> NEURAL_HD vfloat pick(vfloat a, vfloat b) { return pick<Pick>(a, b, AllLanes{}); }

template <int Odd> struct Alternate { // lanes 0, 2, 4, ... or 1, 3, 5, ...
    static constexpr int from(int i) { return 2 * i + Odd; }
};
template <int Second> struct Zip { // the first or second half of a0 b0 a1 b1 ...
    static constexpr int from(int i) { return (i % 2) * kWidth + i / 2 + Second * (kWidth / 2); }
};
// Column C of rows of three, in two steps: from the vectors 0 and 1, then with vector 2.
template <int C> struct Third01 {
    static constexpr int from(int i) { return (3 * i + C) % (2 * kWidth); }
};
template <int C> struct Third2 {
    static constexpr int from(int i) { return 3 * i + C < 2 * kWidth ? i : 3 * i + C - kWidth; }
};
// Vector B of rows of three, from columns 0 and 1, then with column 2.
template <int B> struct Triple01 {
    static constexpr int from(int i) { return (B * kWidth + i) / 3 + ((B * kWidth + i) % 3 == 1 ? kWidth : 0); }
};
template <int B> struct Triple2 {
    static constexpr int from(int i) { return (B * kWidth + i) % 3 < 2 ? i : kWidth + (B * kWidth + i) / 3; }
};

// Rows of 3 or 4 floats, one behind the other: the first `count` (1 to kWidth) of them, zero in the other lanes.
NEURAL_HD void load_rows(const float* p, int count, vfloat (&columns)[3]) {
    alignas(64) float rest[3 * kWidth] = {};
    if (count < kWidth) __builtin_memcpy(rest, p, 12 * count), p = rest;
    const vfloat a = load(p), b = load(p + kWidth), c = load(p + 2 * kWidth);
    columns[0] = pick<Third2<0>>(pick<Third01<0>>(a, b), c);
    columns[1] = pick<Third2<1>>(pick<Third01<1>>(a, b), c);
    columns[2] = pick<Third2<2>>(pick<Third01<2>>(a, b), c);
}
NEURAL_HD void load_rows(const float* p, int count, vfloat (&columns)[4]) {
    alignas(64) float rest[4 * kWidth] = {};
    if (count < kWidth) __builtin_memcpy(rest, p, 16 * count), p = rest;
    const vfloat a = load(p), b = load(p + kWidth), c = load(p + 2 * kWidth), d = load(p + 3 * kWidth);
    const vfloat even01 = pick<Alternate<0>>(a, b), odd01 = pick<Alternate<1>>(a, b);
    const vfloat even23 = pick<Alternate<0>>(c, d), odd23 = pick<Alternate<1>>(c, d);
    columns[0] = pick<Alternate<0>>(even01, even23), columns[2] = pick<Alternate<1>>(even01, even23);
    columns[1] = pick<Alternate<0>>(odd01, odd23), columns[3] = pick<Alternate<1>>(odd01, odd23);
}
NEURAL_HD void store_rows(float* p, int count, const vfloat (&columns)[3]) {
    alignas(64) float rest[3 * kWidth];
    float* to = count < kWidth ? rest : p;
    store(to, pick<Triple2<0>>(pick<Triple01<0>>(columns[0], columns[1]), columns[2]));
    store(to + kWidth, pick<Triple2<1>>(pick<Triple01<1>>(columns[0], columns[1]), columns[2]));
    store(to + 2 * kWidth, pick<Triple2<2>>(pick<Triple01<2>>(columns[0], columns[1]), columns[2]));
    if (count < kWidth) __builtin_memcpy(p, rest, 12 * count);
}
NEURAL_HD void store_rows(float* p, int count, const vfloat (&columns)[4]) {
    alignas(64) float rest[4 * kWidth];
    float* to = count < kWidth ? rest : p;
    const vfloat even0 = pick<Zip<0>>(columns[0], columns[2]), odd0 = pick<Zip<0>>(columns[1], columns[3]);
    const vfloat even1 = pick<Zip<1>>(columns[0], columns[2]), odd1 = pick<Zip<1>>(columns[1], columns[3]);
    store(to, pick<Zip<0>>(even0, odd0));
    store(to + kWidth, pick<Zip<1>>(even0, odd0));
    store(to + 2 * kWidth, pick<Zip<0>>(even1, odd1));
    store(to + 3 * kWidth, pick<Zip<1>>(even1, odd1));
    if (count < kWidth) __builtin_memcpy(p, rest, 16 * count);
}

// kWidth vectors as the rows of a square become its columns: each round of zips moves one bit of the place across.
NEURAL_HD void transpose(vfloat (&rows)[kWidth]) {
    NEURAL_UNROLL
    for (int round = kWidth; round > 1; round /= 2) {
        vfloat next[kWidth];
        NEURAL_UNROLL
        for (int i = 0; i < kWidth / 2; ++i) {
            next[2 * i] = pick<Zip<0>>(rows[i], rows[i + kWidth / 2]);
            next[2 * i + 1] = pick<Zip<1>>(rows[i], rows[i + kWidth / 2]);
        }
        NEURAL_UNROLL
        for (int i = 0; i < kWidth; ++i) rows[i] = next[i];
    }
}

} // namespace NEURAL_ISA
} // namespace neural
