// How a kernel is called with an array of argument addresses, and what its parameters are.
#pragma once

namespace cuda_on_cpu {
struct Span;
const char* run(void (*kernel)(void* const*), void* const* args, const long* span_of, long n_args, const Span* spans,
                long n_spans, const unsigned* grid, const unsigned* block, size_t shared_bytes, u64 seed);

// p: a pointer, i: an integer of 8 bytes, f: a float; ?: anything else, which the launchers do not pass
template <class T>
constexpr char kind_of = std::is_pointer<T>::value                                ? 'p'
                         : std::is_integral<T>::value && sizeof(T) == 8           ? 'i'
                         : std::is_same<T, float>::value                          ? 'f'
                                                                                  : '?';

template <auto Kernel> struct Launcher;
template <class... Args, void (*Kernel)(Args...)> struct Launcher<Kernel> {
    static constexpr char kinds[] = {kind_of<Args>..., 0};

    static void call(void* const* args) { expand(args, std::make_index_sequence<sizeof...(Args)>{}); }

private:
    template <size_t... I> static void expand(void* const* args, std::index_sequence<I...>) {
        Kernel(*static_cast<Args*>(args[I])...);
    }
};
} // namespace cuda_on_cpu
