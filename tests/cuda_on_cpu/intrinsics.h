// Per-thread functions and types that a kernel finds without an include: bits, fast maths, rounding, vector types.
#pragma once

// ---- vector types, with CUDA's alignment
#define NEURAL_VECTOR(T, name, align2, align4)                                                        \
    struct __align__(align2) name##2 { T x, y; };                                                     \
    struct name##3_ { T x, y, z; };                                                                   \
    struct __align__(align4) name##4 { T x, y, z, w; };                                               \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                        \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
NEURAL_VECTOR(float, float, 8, 16)
NEURAL_VECTOR(double, double, 16, 16)
NEURAL_VECTOR(int, int, 8, 16)
NEURAL_VECTOR(unsigned, uint, 8, 16)
NEURAL_VECTOR(short, short, 4, 8)
NEURAL_VECTOR(unsigned short, ushort, 4, 8)
NEURAL_VECTOR(signed char, char, 2, 4)
NEURAL_VECTOR(unsigned char, uchar, 2, 4)
NEURAL_VECTOR(long long, longlong, 16, 16)
NEURAL_VECTOR(unsigned long long, ulonglong, 16, 16)
#undef NEURAL_VECTOR
typedef float3_ float3;
typedef double3_ double3;
typedef int3_ int3;
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline double3 make_double3(double x, double y, double z) { return {x, y, z}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

// ---- loads and stores with a cache hint
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T __ldca(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcg(T* p, T value) { *p = value; }
template <class T> void __stcs(T* p, T value) { *p = value; }

// ---- min, max, abs, as CUDA overloads them
#define NEURAL_MIN_MAX(T)                              \
    inline T min(T a, T b) { return b < a ? b : a; }   \
    inline T max(T a, T b) { return a < b ? b : a; }
NEURAL_MIN_MAX(int)
NEURAL_MIN_MAX(unsigned)
NEURAL_MIN_MAX(long)
NEURAL_MIN_MAX(unsigned long)
NEURAL_MIN_MAX(long long)
NEURAL_MIN_MAX(unsigned long long)
#undef NEURAL_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// ---- bits
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
    return r;
}
inline unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev(unsigned(x)) << 32 | __brev(unsigned(x >> 32));
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
    return unsigned(((unsigned long long)hi << 32 | lo) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
    return unsigned(((unsigned long long)hi << 32 | lo) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const unsigned long long bytes = (unsigned long long)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned s = selector >> 4 * i & 15u;
        unsigned byte = unsigned(bytes >> 8 * (s & 7u)) & 255u;
        if (s & 8u) byte = byte & 128u ? 255u : 0u;
        r |= byte << 8 * i;
    }
    return r;
}
#define NEURAL_BITS(name, From, To)             \
    inline To name(From x) {                    \
        static_assert(sizeof(From) == sizeof(To), ""); \
        To y;                                   \
        memcpy(&y, &x, sizeof(y));              \
        return y;                               \
    }
NEURAL_BITS(__float_as_int, float, int)
NEURAL_BITS(__float_as_uint, float, unsigned)
NEURAL_BITS(__int_as_float, int, float)
NEURAL_BITS(__uint_as_float, unsigned, float)
NEURAL_BITS(__double_as_longlong, double, long long)
NEURAL_BITS(__longlong_as_double, long long, double)
#undef NEURAL_BITS

// ---- fast maths: here as exact as the C library; a GPU's are good to a few ulp only
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
// exact reduction modulo 2, as CUDA documents
inline float sinpif(float x) { return float(sin(3.14159265358979323846 * fmod(double(x), 2.0))); }
inline float cospif(float x) { return float(cos(3.14159265358979323846 * fmod(double(x), 2.0))); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline float norm3df(float x, float y, float z) { return sqrtf(x * x + y * y + z * z); }
inline float rnorm3df(float x, float y, float z) { return 1.0f / norm3df(x, y, z); }

// ---- conversions: _rd down, _rn nearest even, _ru up, _rz to zero; saturating, NaN to 0
#define NEURAL_CONVERT(name, To, round, low, high)                                     \
    inline To name(float x) {                                                          \
        const double r = round(double(x));                                             \
        return r != r ? 0 : r <= double(low) ? low : r >= double(high) ? high : static_cast<To>(r); \
    }
#define NEURAL_CONVERTS(prefix, To, low, high)           \
    NEURAL_CONVERT(prefix##_rd, To, ::floor, low, high)  \
    NEURAL_CONVERT(prefix##_rn, To, ::nearbyint, low, high) \
    NEURAL_CONVERT(prefix##_ru, To, ::ceil, low, high)   \
    NEURAL_CONVERT(prefix##_rz, To, ::trunc, low, high)
NEURAL_CONVERTS(__float2int, int, INT32_MIN, INT32_MAX)
NEURAL_CONVERTS(__float2uint, unsigned, 0u, UINT32_MAX)
NEURAL_CONVERTS(__float2ll, long long, INT64_MIN, INT64_MAX)
#undef NEURAL_CONVERTS
#undef NEURAL_CONVERT
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
