// How a CPU kernel is declared once and compiled once per instruction set.
//
// In <op>.h:    NEURAL_KERNEL(void, op_forward, (const float* in, i64 n, float* out, int n_threads))
// In <op>.cpp:  namespace neural::NEURAL_ISA { void op_forward(...) { ... } }
// In bindings:  NEURAL_BIND(m, op_forward)      // Python passes data_ptr() integers, 0 for a null pointer
//
// Everything a kernel file defines lives in its instruction set's namespace, and it uses no std container: a
// template instantiated in two units with different flags would be merged by the linker into one of them.
#pragma once
#include "platform.cuh"

#if defined(__x86_64__) || defined(_M_X64)
#define NEURAL_KERNEL(result, name, args)      \
    namespace neural {                         \
    namespace baseline { result name args; }   \
    namespace avx2 { result name args; }       \
    namespace avx512 { result name args; }     \
    }
#define NEURAL_EACH_ISA(name) {&neural::baseline::name, &neural::avx2::name, &neural::avx512::name}
namespace neural { constexpr int kIsaCount = 3; }
#else
#define NEURAL_KERNEL(result, name, args)      \
    namespace neural {                         \
    namespace baseline { result name args; }   \
    }
#define NEURAL_EACH_ISA(name) {&neural::baseline::name}
namespace neural { constexpr int kIsaCount = 1; }
#endif
