// Runs a CUDA kernel's blocks one after another, the threads of a block as fibers in random order.
//
// A fiber runs until it waits (barrier, warp collective) or yields (now and then, at an atomic or a fence); then a
// random one of those that can run goes on. So between two synchronisation points every order of threads can come
// up, and a missing barrier shows in some of them. Blocks run in random order too. Shared memory holds 0xff (NaN, -1)
// when a block begins; static shared memory is this library's thread-local storage (shim.py makes it so), of which the
// loader knows the place.
//
// Stopped with a message: a barrier that some threads do not reach, or reach elsewhere; a warp collective whose lanes
// wait in different ones, that the caller is not part of, or whose shuffle reads a lane that is not; an access past
// the end of a tensor (fence.h) or of dynamic shared memory.
#include "cuda_on_cpu.h"
#undef printf
#if defined(__linux__)
#include <link.h>
#endif
#include <stdlib.h>
#include <vector>
#include "fence.h"
#include "stacks.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_cpu {

constexpr size_t kDynamicBytes = 227 << 10, kPastBytes = 4 << 10; // a GPU's most; what is watched behind it
alignas(128) char dynamic_memory[kDynamicBytes + kPastBytes];

namespace {

struct Fiber {
    enum State { kReady, kBarrier, kWarp, kDone } state;
    uint3 index;
    int site;
    unsigned mask;       // of the collective it waits in
    u64 value;           // what it brings there
    unsigned present;    // what it takes away
    u64 values[32];
    Context context;
};

struct StaticShared {
    void* memory;
    size_t bytes;
} static_shared;

thread_local volatile char anchor; // one thread-local of our own: with it the block exists on every thread

void find_static_shared() {
    anchor = 1;
    static_shared = {};
#if defined(__linux__)
    dl_iterate_phdr(
        [](dl_phdr_info* library, size_t, void*) {
            bool ours = false;
            size_t bytes = 0;
            for (int i = 0; i < library->dlpi_phnum; ++i) {
                const auto& part = library->dlpi_phdr[i];
                const auto start = library->dlpi_addr + part.p_vaddr, here = reinterpret_cast<uintptr_t>(&dynamic_memory);
                if (part.p_type == PT_LOAD && here >= start && here < start + part.p_memsz) ours = true;
                if (part.p_type == PT_TLS) bytes = part.p_memsz;
            }
            if (ours) static_shared = {library->dlpi_tls_data, bytes};
            return int(ours); // stop there
        },
        nullptr);
#endif
}

Stacks stacks;
std::vector<Fiber> fibers;
std::vector<int> ready; // indices of fibers that can run, in no order
int current;
u64 random_state;
void (*body)(void* const*);
void* const* arguments;
char message[512]; // of what went wrong; empty while nothing has
int barrier_total;
Context scheduler;

unsigned draw(unsigned n) { // xorshift64*
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return unsigned(((random_state * 0x2545f4914f6cdd1dull >> 32) * n) >> 32);
}

void to_scheduler() {
    switch_context(fibers[current].context, scheduler);
}

void to_fiber(int i) {
    current = i;
    threadIdx = fibers[i].index;
    switch_context(scheduler, fibers[i].context);
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
    fiber.context = new_context(stacks.of(i), &enter);
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
    if (static_shared.memory) memset(static_shared.memory, 0xff, static_shared.bytes);
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

namespace {

std::vector<u64> random_block_order(u64 n) {
    std::vector<u64> order(n);
    for (u64 i = 0; i < n; ++i) {
        const u64 j = draw(unsigned(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

void report_fault(const std::vector<Fence>& fences, const char* address) {
    char what[160];
    for (const Fence& fence : fences) {
        if (!fence.holds(address)) continue;
        if (address < fence.copy())
            snprintf(what, sizeof(what), "touches memory %lld bytes before the tensor of argument %ld",
                     static_cast<long long>(fence.copy() - address), fence.argument());
        else
            snprintf(what, sizeof(what), "touches memory %lld bytes past the end of the tensor of argument %ld",
                     static_cast<long long>(address - fence.end()), fence.argument());
        return report(what, 0);
    }
    report("touches memory that belongs to no argument, or uses more than 256 KiB of stack", 0);
}

} // namespace

// Returns null, or what went wrong. `args` holds the address of each argument; argument i points into
// spans[span_of[i]], or to no tensor where that is negative.
const char* run(void (*kernel)(void* const*), void* const* args, const long* span_of, long n_args, const Span* spans,
                long n_spans, const unsigned* grid, const unsigned* block, size_t shared_bytes, u64 seed) {
    if (shared_bytes > kDynamicBytes) return "asks for more dynamic shared memory than any GPU has";
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body = kernel;
    arguments = args;
    random_state = seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
    message[0] = 0;
    const int n_threads = int(block[0] * block[1] * block[2]);
    stacks.reserve(n_threads);
    find_static_shared();
    const std::vector<u64> order = random_block_order(u64(grid[0]) * grid[1] * grid[2]);
    std::vector<Fence> fences(spans, spans + n_spans);
    for (long i = 0; i < n_args; ++i) {
        if (span_of[i] < 0) continue;
        char*& pointer = *static_cast<char**>(args[i]);
        pointer = fences[span_of[i]].copy() + (pointer - spans[span_of[i]].data);
    }
    FaultCatcher catcher;
    if (sigsetjmp(FaultCatcher::where, 1)) {
        report_fault(fences, FaultCatcher::address);
    } else {
        for (size_t i = 0; i < order.size() && !message[0]; ++i) {
            const u64 b = order[i];
            blockIdx = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
            run_block(n_threads, shared_bytes);
        }
    }
    for (Fence& fence : fences)
        if (!fence.close()) report("a thread of this launch writes just past the end of a tensor", 0);
    return message[0] ? message : nullptr;
}

} // namespace cuda_on_cpu
