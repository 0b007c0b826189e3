// Tensors between guard pages: a kernel works on copies that end where memory ends, so that an access past the end
// faults and can be named. Views of one storage share one copy, as they share memory.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace cuda_on_cpu {

struct Span { // a tensor's storage, as shim.py passes it
    char* data;
    size_t bytes;
    long argument; // the first that points into it
};

constexpr size_t kAlignment = 16; // of a copy's first byte: what float4 needs

class Fence {
public:
    explicit Fence(const Span& span) : span_(span), page_(size_t(sysconf(_SC_PAGESIZE))) {
        inside_ = (padded() + page_ - 1) / page_ * page_;
        memory_ = static_cast<char*>(mmap(nullptr, inside_ + 2 * guard(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (memory_ == MAP_FAILED) abort();
        mprotect(memory_ + guard(), inside_, PROT_READ | PROT_WRITE);
        memset(memory_ + guard(), kFill, inside_);
        memcpy(copy(), span.data, span.bytes);
    }
    // Brings the kernel's results back; false if it wrote into the few bytes between the end and the guard.
    bool close() {
        bool whole = true;
        for (size_t i = span_.bytes; i < padded(); ++i) whole = whole && copy()[i] == kFill;
        memcpy(span_.data, copy(), span_.bytes);
        munmap(memory_, inside_ + 2 * guard());
        return whole;
    }
    char* copy() const { return memory_ + guard() + inside_ - padded(); }
    bool holds(const char* address) const { return address >= memory_ && address < memory_ + inside_ + 2 * guard(); }
    const char* end() const { return copy() + span_.bytes; }
    long argument() const { return span_.argument; }

private:
    static constexpr char kFill = char(0xff);
    size_t guard() const { return 16 * page_; }
    size_t padded() const { return (span_.bytes + kAlignment - 1) / kAlignment * kAlignment; }

    Span span_;
    size_t page_, inside_;
    char* memory_;
};

// While it lives, a fault on this OS thread jumps to `where`, with the address in `address`.
class FaultCatcher {
public:
    static inline sigjmp_buf where;
    static inline char* address;

    FaultCatcher() {
        stack_t mine = {};
        mine.ss_sp = stack;
        mine.ss_size = sizeof(stack);
        sigaltstack(&mine, &old_stack_); // a fiber's own stack may be what has overflowed
        struct sigaction action = {};
        action.sa_sigaction = [](int, siginfo_t* info, void*) {
            address = static_cast<char*>(info->si_addr);
            siglongjmp(where, 1);
        };
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &old_segv_);
        sigaction(SIGBUS, &action, &old_bus_);
    }
    ~FaultCatcher() {
        sigaction(SIGSEGV, &old_segv_, nullptr);
        sigaction(SIGBUS, &old_bus_, nullptr);
        if (old_stack_.ss_flags & SS_DISABLE) old_stack_.ss_size = sizeof(stack); // POSIX asks for a valid size
        sigaltstack(&old_stack_, nullptr);
    }

private:
    static inline char stack[64 << 10];
    stack_t old_stack_;
    struct sigaction old_segv_, old_bus_;
};

} // namespace cuda_on_cpu
