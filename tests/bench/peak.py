"""The machine's FMA rate, by a loop that does nothing else: what compute-bound kernels are held against.

The loop is compiled on the spot (g++ or $CXX, for this machine) and called through ctypes without the GIL, from
one thread pinned to one core or from one thread per core.
"""

import ctypes
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

_SOURCE = r"""
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float v __attribute__((vector_size(4 * LANES)));
extern "C" double fma_loop(long iterations, float seed) {
    v a[10], m = seed - v{}, c = (1.0f - seed) - v{};
    for (int i = 0; i < 10; ++i) a[i] = float(i) - v{};
    for (long n = 0; n < iterations; ++n)
#pragma GCC unroll 10
        for (int i = 0; i < 10; ++i) a[i] = a[i] * m + c;
    float total = 0;
    for (int i = 0; i < 10; ++i) for (int k = 0; k < LANES; ++k) total += a[i][k];
    return total == 12345.0f ? 0.0 : 20.0 * LANES * iterations;  // flop done
}
"""


def load_fma_loop() -> ctypes._CFuncPtr:
    """Compiles the loop; call it with (iterations, 0.5) to get the number of flop it did."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "peak.cpp"), Path(folder, "peak.so")
        source.write_text(_SOURCE)
        compiler = os.environ.get("CXX", "g++")
        subprocess.run(
            [
                compiler,
                "-O3",
                "-march=native",
                "-ffp-contract=fast",
                "-shared",
                "-fPIC",
                str(source),
                "-o",
                str(library),
            ],
            check=True,
        )
        loop = ctypes.CDLL(str(library)).fma_loop
    loop.argtypes, loop.restype = (ctypes.c_long, ctypes.c_float), ctypes.c_double
    return loop


def fma_rate(loop: ctypes._CFuncPtr, n_threads: int = 1, iterations: int = 4_000_000) -> float:
    """Flop per second of wall time over `n_threads` threads, each pinned to its own core."""
    cores = sorted(os.sched_getaffinity(0))[:n_threads]
    done: list[float] = []

    def work(core: int) -> None:
        os.sched_setaffinity(0, {core})  # of this thread only
        done.append(loop(iterations, 0.5))

    workers = [threading.Thread(target=work, args=(core,)) for core in cores]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)
