"""Values kept per tensor: found by identity, dropped when the tensor is written or dies."""

import gc

import torch

from neural.cuda.tensor_cache import TensorCache


def test_a_value_is_found_by_the_tensor_itself_not_by_an_equal_one() -> None:
    cache: TensorCache[str] = TensorCache()
    tensor = torch.zeros(3)
    assert cache.put(tensor, "kept") == "kept"
    assert cache.get(tensor) == "kept"
    assert cache.get(torch.zeros(3)) is None


def test_a_write_drops_the_value() -> None:
    cache: TensorCache[int] = TensorCache()
    tensor = torch.zeros(3)
    cache.put(tensor, 1)
    tensor[0] = 5.0
    assert cache.get(tensor) is None
    cache.put(tensor, 2)
    assert cache.get(tensor) == 2


def test_nothing_stays_when_tensors_die() -> None:
    cache: TensorCache[int] = TensorCache()
    for value in range(100):
        cache.put(torch.zeros(3), value)
    gc.collect()
    assert len(cache) == 0


def test_inference_tensors_keep_nothing() -> None:
    cache: TensorCache[int] = TensorCache()
    with torch.inference_mode():
        tensor = torch.zeros(3)
    assert cache.put(tensor, 1) == 1
    assert cache.get(tensor) is None
