// Stacks for fibers and the switch from one to another: a few instructions on x86-64 and aarch64 Linux, ucontext
// (a system call each time) elsewhere.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__) && defined(__linux__)
// Saves the callee-saved registers on the old stack, its top in *from, and takes those on the stack `to`.
asm(R"(
.text
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_on_cpu_switch, .-cuda_on_cpu_switch
)");
#define NEURAL_OWN_SWITCH 1
constexpr int kEntryWord = 6, kFrameWords = 8; // six registers, the return address, padding
#elif defined(__aarch64__) && defined(__linux__)
asm(R"(
.text
.type cuda_on_cpu_switch, %function
cuda_on_cpu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size cuda_on_cpu_switch, .-cuda_on_cpu_switch
)");
#define NEURAL_OWN_SWITCH 1
constexpr int kEntryWord = 11, kFrameWords = 20; // x30 is the return address
#else
#include <ucontext.h>
#define NEURAL_OWN_SWITCH 0
#endif
#if NEURAL_OWN_SWITCH
extern "C" void cuda_on_cpu_switch(void** from, void* to);
#endif

namespace cuda_on_cpu {

constexpr size_t kStackBytes = 256 << 10, kGuardBytes = 64 << 10; // the guard turns an overflow into a fault

struct Stacks { // kept from launch to launch
    char* memory = nullptr;
    int count = 0;

    char* of(int i) { return memory + size_t(i) * (kStackBytes + kGuardBytes) + kGuardBytes; }

    void reserve(int n) {
        if (n <= count) return;
        if (memory) munmap(memory, size_t(count) * (kStackBytes + kGuardBytes));
        const size_t bytes = size_t(n) * (kStackBytes + kGuardBytes);
        memory = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (memory == MAP_FAILED) abort();
        for (int i = 0; i < n; ++i) mprotect(of(i) - kGuardBytes, kGuardBytes, PROT_NONE);
        count = n;
    }
};

#if NEURAL_OWN_SWITCH
typedef void* Context; // the top of its stack, where its registers lie

inline void switch_context(Context& from, Context& to) { cuda_on_cpu_switch(&from, to); }

inline Context new_context(char* stack, void (*entry)()) {
    void** frame = reinterpret_cast<void**>(stack + kStackBytes) - kFrameWords;
    memset(frame, 0, kFrameWords * sizeof(void*));
    frame[kEntryWord] = reinterpret_cast<void*>(entry);
    return frame;
}
#else
typedef ucontext_t* Context;

inline void switch_context(Context& from, Context& to) {
    static ucontext_t here; // of the scheduler, which has no stack of its own
    if (!from) from = &here;
    swapcontext(from, to);
}

// The context lies at the foot of its stack.
inline Context new_context(char* stack, void (*entry)()) {
    Context context = reinterpret_cast<Context>(stack);
    getcontext(context);
    context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
    context->uc_stack.ss_size = kStackBytes - sizeof(ucontext_t);
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}
#endif

} // namespace cuda_on_cpu
