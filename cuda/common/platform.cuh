// What every machine agrees on: integer names and the mark for functions that run on host and device.
// Included by CPU kernels (g++, clang), by NVRTC and by the CUDA-on-CPU shim; it includes nothing on a GPU.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define NEURAL_HD __host__ __device__ __forceinline__
#else
#define NEURAL_HD inline __attribute__((always_inline))
#endif

// A long function that is called for a block of work at a time: not worth a copy at every call.
#define NEURAL_OUTLINED __attribute__((noinline))

#if defined(__GNUC__) && !defined(__CUDACC__)
#define NEURAL_UNROLL _Pragma("GCC unroll 16")
#else
#define NEURAL_UNROLL _Pragma("unroll")
#endif

namespace neural {
typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

// A float and its bits.
union FloatBits {
    float value;
    u32 bits;
};

// A value as a type: lets a generic lambda receive what a run-time switch has chosen.
template <int N> struct Constant {
    static constexpr int value = N;
};
} // namespace neural
