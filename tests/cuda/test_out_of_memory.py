"""Too little memory for a kernel's scratch is a MemoryError in Python, on one thread and on several."""

import subprocess
import sys

import pytest

# The kernels are called directly, on tensors made before, so that nothing but their scratch is allocated; a small call
# starts the team of threads. Then all memory goes that comes in pieces of 1 MiB.
SCRIPT = """
import ctypes, resource, sys
import torch
from neural.cuda import levels
from neural.cuda.native import lib

kernel, threads = sys.argv[1], int(sys.argv[2])
if kernel == "mlp_forward":  # scratch of a thread: more than 64 n_in floats
    n, n_in, width = 1024, 65536, 8
    x, params, out = torch.zeros(n + n_in), torch.zeros((n_in + 1) * width), torch.zeros(n)

    def call(n_in):  # row i of the inputs is x[i : i + n_in]
        network = (params.data_ptr(), n_in, 1, width, 1, 0, 0, 0, 1.0)
        return x.data_ptr(), 1, 1, n, *network, out.data_ptr(), 1, n, threads

    small, large = call(8), call(n_in)
elif kernel == "hash_grid_backward_table":  # scratch: the gradient in the order of levels, 8 floats a point
    layout = {"n_levels": 8, "base_resolution": [2], "per_level_scale": [1.0], "log2_hashmap_size": 8}
    rows, entries = levels.describe(1, **layout)
    x, grad, out = torch.rand(131072), torch.ones(131072, 8), torch.zeros(entries, 1)

    def call(n):
        segments.append(torch.tensor([0, n]))
        grid = (rows.data_ptr(), segments[-1].data_ptr(), 1, 8, 1, 1, 0, 1, 1)
        return x.data_ptr(), 1, n, grad.data_ptr(), 8, 1, *grid, out.data_ptr(), 0, threads

    segments = []
    small, large = call(8), call(131072)
else:  # scratch of a thread: 7 floats a point, for up to 65536 points
    layout = {"n_levels": 1, "base_resolution": [2] * 7, "per_level_scale": [1.0] * 7, "log2_hashmap_size": 8}
    rows, entries = levels.describe(7, n_tables=2, **layout)
    n = 131072
    x, table, grad, out = torch.rand(7, n), torch.rand(entries, 1), torch.ones(n), torch.zeros(n, 7)

    def call(segments):
        grid = (rows.data_ptr(), segments.data_ptr(), 2, 1, 7, 1, 0, 1, 1)
        return x.data_ptr(), 1, n, table.data_ptr(), 0, grad.data_ptr(), 1, 1, *grid, out.data_ptr(), threads

    few, many = torch.tensor([0, 8, 16]), torch.tensor([0, n // 2, n])
    small, large = call(few), call(many)

run, malloc, unlimited = getattr(lib, kernel), ctypes.CDLL(None).malloc, (resource.RLIM_INFINITY,) * 2
malloc.restype = ctypes.c_void_p
run(*small)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
while malloc(1 << 20):
    pass
try:
    run(*large)
except MemoryError:
    resource.setrlimit(resource.RLIMIT_AS, unlimited)
    run(*large)  # nothing is left broken
    print("MemoryError, then a result")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on address space is Linux's")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kernel", ["mlp_forward", "hash_grid_backward_table", "hash_grid_backward_positions"])
def test_too_little_memory_is_a_memory_error(kernel: str, threads: int) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, kernel, str(threads)], capture_output=True, text=True)
    assert done.stdout == "MemoryError, then a result\n", (done.returncode, done.stderr)
