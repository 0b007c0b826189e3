"""Kernels that read ahead, in whole vectors or by guess, do not read beyond what they are given."""

import subprocess
import sys

import pytest

from neural.cuda import native

# Everything ends where a page begins that cannot be read: one float too far, and the process dies.
SCRIPT = """
import ctypes, mmap, sys
import torch
from neural.cuda import levels, native, simplex_levels
from neural.cuda.adam import AdamRule, AdamState, adam
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import hash_grid
from neural.cuda.probed_grid import probed_grid
from neural.cuda.simplex import simplex

native.set_isa(sys.argv[1])
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
kept, NOTHING = [], 0  # PROT_NONE

def at_the_edge(values):
    n_bytes = values.numel() * values.element_size()
    whole = -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, whole + mmap.PAGESIZE)
    kept.append(memory)
    bytes_ = torch.frombuffer(memory, dtype=torch.uint8)
    assert protect(bytes_.data_ptr() + whole, mmap.PAGESIZE, NOTHING) == 0
    tensor = bytes_[whole - n_bytes : whole].view(values.dtype).view(values.shape)
    return tensor.copy_(values)

def train(lookup, rows, entries, n_dims, n_features, **options):
    table = at_the_edge(torch.rand(entries, n_features)).requires_grad_()
    x = at_the_edge(torch.rand(1003, n_dims)).requires_grad_()
    buffer = GradientBuffer(at_the_edge(torch.zeros(entries, n_features)), GradientBuffer.like(table).touched)
    out = lookup(x, table, levels=rows, accumulate=buffer, **options)
    out.backward(at_the_edge(torch.rand(out.shape)))
    if "codes" not in options:
        for dtype in (torch.float16, torch.bfloat16):
            lookup(x, table, levels=rows, working_copy=at_the_edge(table.detach().to(dtype)))
    state = AdamState(
        at_the_edge(torch.zeros(entries, n_features)), at_the_edge(torch.zeros(entries, n_features)),
        row_steps=at_the_edge(torch.zeros(entries, dtype=torch.int32)),
    )
    adam(table.detach(), buffer.grad, state, AdamRule(1e-2), 1, touched=buffer.touched, clear_grad=True)

for n_features in (1, 2, 4, 8):
    for log2 in (4, 9):
        for n_dims in (1, 3):
            shape = dict(n_levels=3, base_resolution=[3] * n_dims, per_level_scale=[2.5] * n_dims)
            rows, entries = levels.describe(n_dims, log2_hashmap_size=log2, **shape)
            train(hash_grid, rows, entries, n_dims, n_features)
            if n_books := int(rows[0, :, 2].sum()):
                codes = at_the_edge(torch.randint(4, (n_books, 4), dtype=torch.uint8))
                probabilities = torch.rand(n_books, 4, 4)
                train(probed_grid, rows, entries, n_dims, n_features, codes=codes, probabilities=probabilities)
            rows, entries = simplex_levels.describe(n_dims, log2_hashmap_size=log2, seed=0, lattice="skewed", **shape)
            train(simplex, rows, entries, n_dims, n_features)
print("within")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects pages as Linux does")
@pytest.mark.parametrize("name", native.available_isas())
def test_nothing_is_read_beyond_what_is_given(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, text=True)
    assert done.stdout == "within\n", (done.returncode, done.stderr)
