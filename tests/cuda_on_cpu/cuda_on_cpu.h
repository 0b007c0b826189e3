// What NVRTC gives a kernel, for g++: index variables, vector types, intrinsics, warp collectives, atomics.
// Included before an unmodified .cu (-include). Threads are fibers of one OS thread (runtime.cpp), so an atomic is a
// plain read and write; `__global__`, `__shared__` are seen to by shim.py.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <type_traits>
#include <utility>

#define NEURAL_CUDA_ON_CPU 1 // for what only a GPU can do: inline PTX
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __CUDA_ARCH__ 750 // the lowest that is supported: later architectures' extras are not written here
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define printf(...) ((void)0)

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- scheduling (runtime.cpp). `site` is the source line, by which divergence is found.
namespace cuda_on_cpu {
typedef unsigned long long u64;
void barrier(int site);
int barrier_sum(int site, int value); // sum of value over the block
// Waits for every live lane of mask, then gives the array of their values (by lane) and which lanes are in it.
const u64* exchange(unsigned mask, u64 value, int site, unsigned* present);
void yield(); // lets another thread go first, now and then
unsigned lane();
[[noreturn]] void fail(const char* message, int site);
extern char dynamic_memory[]; // aligned to 128 bytes

template <class T> u64 to_bits(T value) {
    static_assert(sizeof(T) <= 8 && std::is_arithmetic<T>::value, "shuffles move numbers of up to 8 bytes");
    u64 bits = 0;
    memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <class T> T from_bits(u64 bits) {
    T value;
    memcpy(&value, &bits, sizeof(T));
    return value;
}
template <class T> T shuffle(unsigned mask, T value, int source, int site) {
    unsigned present;
    const u64* values = exchange(mask, to_bits(value), site, &present);
    if (!(present >> source & 1)) fail("a shuffle reads a lane that takes no part in it", site);
    return from_bits<T>(values[source]);
}
} // namespace cuda_on_cpu

#define NEURAL_SITE int site = __builtin_LINE()

inline void __syncthreads(NEURAL_SITE) { cuda_on_cpu::barrier(site); }
inline int __syncthreads_count(int predicate, NEURAL_SITE) { return cuda_on_cpu::barrier_sum(site, predicate != 0); }
inline int __syncthreads_or(int predicate, NEURAL_SITE) { return cuda_on_cpu::barrier_sum(site, predicate != 0) != 0; }
inline int __syncthreads_and(int predicate, NEURAL_SITE) { return cuda_on_cpu::barrier_sum(site, predicate == 0) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu, NEURAL_SITE) {
    unsigned present;
    cuda_on_cpu::exchange(mask, 0, site, &present);
}
inline void __threadfence() { cuda_on_cpu::yield(); }
inline void __threadfence_block() { cuda_on_cpu::yield(); }
inline void __threadfence_system() { cuda_on_cpu::yield(); }
inline void __nanosleep(unsigned) { cuda_on_cpu::yield(); }

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, NEURAL_SITE) {
    const int own = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, (own & ~(width - 1)) + (source & (width - 1)), site);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, NEURAL_SITE) {
    const int own = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, (own & (width - 1)) >= int(delta) ? own - int(delta) : own, site);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, NEURAL_SITE) {
    const int own = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, (own & (width - 1)) + int(delta) < width ? own + int(delta) : own, site);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, NEURAL_SITE) {
    const int own = cuda_on_cpu::lane(), source = own ^ lane_mask;
    return cuda_on_cpu::shuffle(mask, value, source < (own & ~(width - 1)) + width ? source : own, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, NEURAL_SITE) {
    unsigned present, votes = 0;
    const auto* values = cuda_on_cpu::exchange(mask, predicate != 0, site, &present);
    for (int i = 0; i < 32; ++i)
        if (present >> i & 1) votes |= unsigned(values[i]) << i;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate, NEURAL_SITE) { return __ballot_sync(mask, predicate, site) != 0; }
inline int __all_sync(unsigned mask, int predicate, NEURAL_SITE) { return __ballot_sync(mask, !predicate, site) == 0; }
template <class T> unsigned __match_any_sync(unsigned mask, T value, NEURAL_SITE) {
    unsigned present, same = 0;
    const auto own = cuda_on_cpu::to_bits(value);
    const auto* values = cuda_on_cpu::exchange(mask, own, site, &present);
    for (int i = 0; i < 32; ++i)
        if (present >> i & 1 && values[i] == own) same |= 1u << i;
    return same;
}
template <class T> unsigned __match_all_sync(unsigned mask, T value, int* predicate, NEURAL_SITE) {
    unsigned present;
    const auto own = cuda_on_cpu::to_bits(value);
    const auto* values = cuda_on_cpu::exchange(mask, own, site, &present);
    *predicate = 1;
    for (int i = 0; i < 32; ++i)
        if (present >> i & 1 && values[i] != own) *predicate = 0;
    return *predicate ? present : 0;
}
inline unsigned __activemask() { return 1u << cuda_on_cpu::lane(); } // any set that holds the caller is allowed

// ---- atomics: the overloads that sm_75 has
#define NEURAL_ATOMIC(name, T, update)              \
    inline T name(T* address, T value) {            \
        cuda_on_cpu::yield();                       \
        const T old = *address;                     \
        *address = update;                          \
        return old;                                 \
    }
#define NEURAL_ATOMIC_INTEGERS(name, update)        \
    NEURAL_ATOMIC(name, int, update)                \
    NEURAL_ATOMIC(name, unsigned, update)           \
    NEURAL_ATOMIC(name, unsigned long long, update)
NEURAL_ATOMIC_INTEGERS(atomicAdd, old + value)
NEURAL_ATOMIC(atomicAdd, float, old + value)
NEURAL_ATOMIC(atomicAdd, double, old + value)
NEURAL_ATOMIC(atomicSub, int, old - value)
NEURAL_ATOMIC(atomicSub, unsigned, old - value)
NEURAL_ATOMIC_INTEGERS(atomicMin, value < old ? value : old)
NEURAL_ATOMIC(atomicMin, long long, value < old ? value : old)
NEURAL_ATOMIC_INTEGERS(atomicMax, value > old ? value : old)
NEURAL_ATOMIC(atomicMax, long long, value > old ? value : old)
NEURAL_ATOMIC_INTEGERS(atomicAnd, old & value)
NEURAL_ATOMIC_INTEGERS(atomicOr, old | value)
NEURAL_ATOMIC_INTEGERS(atomicXor, old ^ value)
NEURAL_ATOMIC_INTEGERS(atomicExch, value)
NEURAL_ATOMIC(atomicExch, float, value)
NEURAL_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
NEURAL_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
#undef NEURAL_ATOMIC_INTEGERS
#undef NEURAL_ATOMIC
#define NEURAL_ATOMIC_CAS(T)                        \
    inline T atomicCAS(T* address, T compare, T value) { \
        cuda_on_cpu::yield();                       \
        const T old = *address;                     \
        if (old == compare) *address = value;       \
        return old;                                 \
    }
NEURAL_ATOMIC_CAS(int)
NEURAL_ATOMIC_CAS(unsigned)
NEURAL_ATOMIC_CAS(unsigned short)
NEURAL_ATOMIC_CAS(unsigned long long)
#undef NEURAL_ATOMIC_CAS
#undef NEURAL_SITE

#include "intrinsics.h"
#include "launch.h"
