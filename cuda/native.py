"""The compiled CPU kernels: loaded once, and refused with the remedy when they are missing."""

import torch

from neural.errors import BackendUnavailable

try:
    from neural.cuda import _native as lib  # type: ignore[attr-defined]  # compiled: nothing for a type checker to see
except ImportError as error:
    raise BackendUnavailable(
        f"the compiled part of neural (neural.cuda._native) cannot be loaded: {error}. In a checkout, a normal "
        "install leaves it in site-packages while Python finds these sources first: run `pip install -e .` here "
        "(or `make`), or start Python outside the checkout"
    ) from error

active_isa = lib.active_isa
available_isas = lib.available_isas
set_isa = lib.set_isa
retain_heap = lib.retain_heap


def threads() -> int:
    """Threads that a CPU kernel may use: what `torch.set_num_threads` says."""
    return torch.get_num_threads()
