"""Values that were worked out from a tensor, kept as long as it lives and does not change."""

import weakref
from typing import Generic, TypeVar

from torch import Tensor

V = TypeVar("V")


class TensorCache(Generic[V]):
    """From tensors, by identity, to values.

    A lookup costs a tenth of one in torch's WeakTensorKeyDictionary, which an op cannot afford on every call.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[Tensor], int, V]] = {}

    def get(self, tensor: Tensor) -> V | None:
        """The value kept for this tensor, None if there is none or the tensor has been written since."""
        kept = self._kept.get(id(tensor))
        if kept is None or kept[0]() is not tensor or kept[1] != tensor._version:
            return None
        return kept[2]

    def put(self, tensor: Tensor, value: V) -> V:
        """Keeps a value for this tensor and gives it back; inference tensors, which count no writes, keep nothing."""
        if tensor.is_inference():
            return value
        key = id(tensor)

        def forget(ref: weakref.ref[Tensor]) -> None:
            kept = self._kept.get(key)
            if kept is not None and kept[0] is ref:  # not another tensor at the same address
                del self._kept[key]

        self._kept[key] = (weakref.ref(tensor, forget), tensor._version, value)
        return value

    def __len__(self) -> int:
        return len(self._kept)
