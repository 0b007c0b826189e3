// Runs a CUDA kernel's blocks one after another, the threads of a block as fibers in random order.
//
// A fiber runs until it waits (barrier, warp collective) or yields (now and then, at an atomic or a fence); then a
// random one of those that can run goes on. So between two synchronisation points every order of threads can come
// up, and a missing barrier shows in some of them. Blocks run in random order too. Static shared memory that the
// linker can find and all dynamic shared memory hold 0xff (NaN, -1) when a block begins.
//
// Stopped with a message: a barrier that some threads do not reach, or reach elsewhere; a warp collective whose lanes
// wait in different ones, that the caller is not part of, or whose shuffle reads a lane that is not.
#include "cuda_on_cpu.h"
#undef printf
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// linker-made bounds of the section that shim.py puts static shared memory in
extern "C" __attribute__((weak, visibility("hidden"))) char __start_cuda_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) char __stop_cuda_shared[];

// ---- switching stacks
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
constexpr int kSavedWords = 6, kEntryWord = 6, kFrameWords = 8; // registers, return address, padding
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

constexpr size_t kDynamicBytes = 227 << 10, kPastBytes = 4 << 10; // a GPU's most; what is watched behind it
alignas(128) char dynamic_memory[kDynamicBytes + kPastBytes];

namespace {

constexpr size_t kStackBytes = 256 << 10, kGuardBytes = 64 << 10; // the guard turns an overflow into a fault

struct Fiber {
    enum State { kReady, kBarrier, kWarp, kDone } state;
    uint3 index;
    int site;
    unsigned mask;       // of the collective it waits in
    u64 value;           // what it brings there
    unsigned present;    // what it takes away
    u64 values[32];
#if NEURAL_OWN_SWITCH
    void* top;
#else
    ucontext_t context;
#endif
};

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

Stacks stacks;
std::vector<Fiber> fibers;
std::vector<int> ready; // indices of fibers that can run, in no order
int current;
u64 random_state;
void (*body)(void* const*);
void* const* arguments;
char message[512]; // of what went wrong; empty while nothing has
int barrier_total;
#if NEURAL_OWN_SWITCH
void* scheduler_top;
#else
ucontext_t scheduler_context;
#endif

unsigned draw(unsigned n) { // xorshift64*
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return unsigned(((random_state * 0x2545f4914f6cdd1dull >> 32) * n) >> 32);
}

void to_scheduler() {
#if NEURAL_OWN_SWITCH
    cuda_on_cpu_switch(&fibers[current].top, scheduler_top);
#else
    swapcontext(&fibers[current].context, &scheduler_context);
#endif
}

void to_fiber(int i) {
    current = i;
    threadIdx = fibers[i].index;
#if NEURAL_OWN_SWITCH
    cuda_on_cpu_switch(&scheduler_top, fibers[i].top);
#else
    swapcontext(&scheduler_context, &fibers[i].context);
#endif
}

// Lets a warp's collective go on once every live lane of its mask has come to it.
void complete_warp(int member) {
    const int first = member & ~31, end = first + 32 < int(fibers.size()) ? first + 32 : int(fibers.size());
    for (int i = first; i < end; ++i) {
        if (fibers[i].state != Fiber::kWarp) continue;
        const unsigned mask = fibers[i].mask;
        unsigned present = 0;
        bool complete = true;
        for (int j = first; j < end; ++j) {
            const Fiber& other = fibers[j];
            if (!(mask >> (j - first) & 1) || other.state == Fiber::kDone) continue;
            if (other.state == Fiber::kWarp && other.mask == mask && other.site == fibers[i].site)
                present |= 1u << (j - first);
            else complete = false;
        }
        if (!complete) continue;
        u64 values[32] = {};
        for (int j = first; j < end; ++j)
            if (present >> (j - first) & 1) values[j - first] = fibers[j].value;
        for (int j = first; j < end; ++j) {
            if (!(present >> (j - first) & 1)) continue;
            memcpy(fibers[j].values, values, sizeof(values));
            fibers[j].present = present;
            fibers[j].state = Fiber::kReady;
            ready.push_back(j);
        }
    }
}

void enter() {
    body(arguments);
    fibers[current].state = Fiber::kDone;
    complete_warp(current); // lanes may wait for all that are still there
    to_scheduler();
    abort(); // a finished thread is never resumed
}

void prepare(int i) {
    Fiber& fiber = fibers[i];
    fiber.state = Fiber::kReady;
    fiber.index = {unsigned(i) % blockDim.x, unsigned(i) / blockDim.x % blockDim.y, unsigned(i) / (blockDim.x * blockDim.y)};
#if NEURAL_OWN_SWITCH
    void** frame = reinterpret_cast<void**>(stacks.of(i) + kStackBytes) - kFrameWords;
    memset(frame, 0, kFrameWords * sizeof(void*));
    frame[kEntryWord] = reinterpret_cast<void*>(&enter);
    fiber.top = frame;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks.of(i);
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &enter, 0);
#endif
}

void report(const char* what, int site) {
    if (message[0]) return;
    snprintf(message, sizeof(message), "line %d, block (%u, %u, %u), thread (%u, %u, %u): %s", site, blockIdx.x,
             blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, what);
}

// Nobody can run: opens the barrier that all wait at, or says why they never will go on. False at the end.
bool release() {
    int done = 0, waiting = 0, site = -1, first = 0;
    for (int i = 0; i < int(fibers.size()); ++i) {
        const Fiber& fiber = fibers[i];
        if (fiber.state == Fiber::kDone) {
            ++done;
            continue;
        }
        threadIdx = fiber.index;
        if (fiber.state == Fiber::kWarp) {
            report("waits in a warp collective that other lanes of its mask do not come to", fiber.site);
            return false;
        }
        if (site < 0) site = fiber.site, first = i;
        if (fiber.site != site) {
            report("waits at this barrier while others wait at another", fiber.site);
            return false;
        }
        ++waiting;
    }
    if (!waiting) return false;
    if (done) {
        threadIdx = fibers[first].index;
        report("waits at a barrier that other threads of the block have passed by returning", site);
        return false;
    }
    barrier_total = 0;
    for (int i = 0; i < int(fibers.size()); ++i) {
        barrier_total += int(fibers[i].value);
        fibers[i].state = Fiber::kReady;
        ready.push_back(i);
    }
    return true;
}

void run_block(int n_threads, size_t shared_bytes) {
    if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, size_t(__stop_cuda_shared - __start_cuda_shared));
    memset(dynamic_memory, 0xff, shared_bytes + kPastBytes);
    fibers.resize(n_threads);
    ready.clear();
    for (int i = 0; i < n_threads; ++i) {
        prepare(i);
        ready.push_back(i);
    }
    do {
        while (!ready.empty() && !message[0]) {
            const int pick = int(draw(unsigned(ready.size()))), i = ready[pick];
            ready[pick] = ready.back();
            ready.pop_back();
            to_fiber(i);
        }
    } while (!message[0] && release());
    for (size_t i = 0; i < kPastBytes; ++i)
        if (dynamic_memory[shared_bytes + i] != char(0xff)) {
            report("a thread of this block writes past its dynamic shared memory", 0);
            return;
        }
}

} // namespace

unsigned lane() { return unsigned(current) & 31; }

void barrier(int site) { barrier_sum(site, 0); }

int barrier_sum(int site, int value) {
    Fiber& fiber = fibers[current];
    fiber.state = Fiber::kBarrier;
    fiber.site = site;
    fiber.value = u64(value);
    to_scheduler();
    return barrier_total;
}

const u64* exchange(unsigned mask, u64 value, int site, unsigned* present) {
    if (!(mask >> lane() & 1)) fail("calls a warp collective whose mask leaves it out", site);
    Fiber& fiber = fibers[current];
    fiber.state = Fiber::kWarp;
    fiber.site = site;
    fiber.mask = mask;
    fiber.value = value;
    complete_warp(current);
    to_scheduler();
    *present = fiber.present;
    return fiber.values;
}

void yield() {
    if (draw(8)) return;
    ready.push_back(current);
    to_scheduler();
}

void fail(const char* what, int site) {
    report(what, site);
    to_scheduler();
    abort(); // not resumed after a failure
}

// Returns null, or what went wrong. `args` holds the address of each argument.
const char* run(void (*kernel)(void* const*), void* const* args, const unsigned* grid, const unsigned* block,
                size_t shared_bytes, u64 seed) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body = kernel;
    arguments = args;
    random_state = seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
    message[0] = 0;
    if (shared_bytes > kDynamicBytes) return "asks for more dynamic shared memory than any GPU has";
    const unsigned n_threads = block[0] * block[1] * block[2];
    stacks.reserve(int(n_threads));
    std::vector<u64> order(size_t(grid[0]) * grid[1] * grid[2]);
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = order.size(); i > 1; --i) {
        const size_t j = draw(unsigned(i));
        const u64 swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
    for (u64 b : order) {
        blockIdx = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
        run_block(int(n_threads), shared_bytes);
        if (message[0]) return message;
    }
    return nullptr;
}

} // namespace cuda_on_cpu
