"""Learned perceptual image patch similarity (LPIPS 0.1), AlexNet or VGG16, in plain torch.

The weights are not ours to ship. They are looked for, in this order, in
- `NEURAL_LPIPS_WEIGHTS`: one file with everything, or a folder;
- torch's hub cache (`torch.hub.get_dir()/checkpoints`),
where a folder holds the trunk under torchvision's name (`alexnet-owt-7be5be79.pth`, `vgg16-397923af.pth`) and
the heads under LPIPS' own (`alex.pth`, `vgg.pth`), each as `.pth` or `.safetensors`; one file with both may
be named `lpips_alex` or `lpips_vgg`. Pickled files are loaded with `weights_only=True`. Without weights there
is no score.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural.errors import BackendUnavailable

Net = Literal["alex", "vgg"]
NOT_INSTALLED = "not installed"
SMALLEST = 32  # pixels; a smaller image vanishes in the trunks
# sRGB in [-1, 1] to the trunk's normalisation.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class _Conv:
    index: int  # in torchvision's `features`
    channels_in: int
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 1
    pool: int = 0  # window of the max pooling before it, stride 2
    tap: bool = False  # whether its ReLU is compared


_TRUNKS: dict[str, tuple[_Conv, ...]] = {
    "alex": (
        _Conv(0, 3, 64, 11, stride=4, padding=2, tap=True),
        _Conv(3, 64, 192, 5, padding=2, pool=3, tap=True),
        _Conv(6, 192, 384, 3, pool=3, tap=True),
        _Conv(8, 384, 256, 3, tap=True),
        _Conv(10, 256, 256, 3, tap=True),
    ),
    "vgg": (
        _Conv(0, 3, 64, 3),
        _Conv(2, 64, 64, 3, tap=True),
        _Conv(5, 64, 128, 3, pool=2),
        _Conv(7, 128, 128, 3, tap=True),
        _Conv(10, 128, 256, 3, pool=2),
        _Conv(12, 256, 256, 3),
        _Conv(14, 256, 256, 3, tap=True),
        _Conv(17, 256, 512, 3, pool=2),
        _Conv(19, 512, 512, 3),
        _Conv(21, 512, 512, 3, tap=True),
        _Conv(24, 512, 512, 3, pool=2),
        _Conv(26, 512, 512, 3),
        _Conv(28, 512, 512, 3, tap=True),
    ),
}
_FILES: dict[str, tuple[str, ...]] = {
    "alex": ("lpips_alex", "alexnet-owt-7be5be79", "alexnet-owt-4df8aa71", "alex"),
    "vgg": ("lpips_vgg", "vgg16-397923af", "vgg"),
}
_TRUNK_KEY = re.compile(r"(?:net\.slice\d+|features)\.(\d+)\.(weight|bias)")
_HEAD_KEY = re.compile(r"lin(\d)\.model\.1\.weight|heads\.(\d)")


class Lpips:
    """The distance, with weights in memory.

    Args:
        weights: Names as in torchvision (`features.0.weight` ...) and LPIPS (`lin0.model.1.weight` ...).
        net: The trunk. Scores of the two are not comparable.

    Raises:
        ValueError: For a missing tensor or one of another shape.

    Source: Zhang et al. 2018, arXiv:1801.03924, eq. 1.
    """

    def __init__(self, weights: Mapping[str, Tensor], net: Net = "alex") -> None:
        self.net = net
        self._weights = _checked(weights, net)

    def __call__(self, image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
        """Distance of two images, 0 for equal ones.

        Args:
            image: sRGB, clamped to [0, 1], and taken to [-1, 1] as in the original.
            target: The same of the photograph.
        """
        if image.shape != target.shape or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"lpips: images must be [H, W, 3] of one size, got {tuple(image.shape)} and {tuple(target.shape)}"
            )
        if min(image.shape[:2]) < SMALLEST:
            raise ValueError(f"lpips: images must be at least {SMALLEST}x{SMALLEST} pixels, got {tuple(image.shape)}")
        with torch.no_grad():
            pair = torch.stack([image, target]).float().clamp(0.0, 1.0).permute(0, 3, 1, 2) * 2.0 - 1.0
            total = torch.zeros((), device=pair.device)
            for level, features in enumerate(self._features(pair)):
                unit = features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
                head = self._weights[f"head.{level}"].to(pair.device)
                total = total + ((unit[0] - unit[1]).square() * head).sum(dim=0).mean()
        return float(total)

    def _features(self, pair: Float[Tensor, "2 3 H W"]) -> list[Tensor]:
        shift, scale = (torch.tensor(v, device=pair.device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
        x, taps = (pair - shift) / scale, []
        for conv in _TRUNKS[self.net]:
            if conv.pool:
                x = functional.max_pool2d(x, conv.pool, stride=2)
            weight, bias = (self._weights[f"{conv.index}.{part}"].to(x.device) for part in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, stride=conv.stride, padding=conv.padding).relu()
            if conv.tap:
                taps.append(x)
        return taps


def load(net: Net = "alex") -> Lpips | None:
    """The distance with the weights found on this machine, None if there are none.

    Raises:
        BackendUnavailable: If `NEURAL_LPIPS_WEIGHTS` names something that does not exist or cannot be used.
    """
    place = os.environ.get("NEURAL_LPIPS_WEIGHTS")
    if place:
        path = Path(place)
        files = [path] if path.is_file() else _files_in(path, net)
        if not files:
            raise BackendUnavailable(
                f"NEURAL_LPIPS_WEIGHTS={place}: no weights of LPIPS {net} there; name a file, "
                f"or a folder with {' / '.join(_FILES[net])} as .pth or .safetensors."
            )
    else:
        files = _files_in(Path(torch.hub.get_dir()) / "checkpoints", net)
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= _read(file)
    try:
        return Lpips(weights, net)
    except ValueError as error:
        if not place:
            return None  # half of the weights, or some other network's, in a cache that is not ours
        raise BackendUnavailable(f"NEURAL_LPIPS_WEIGHTS={place}: {error}") from error


def _files_in(folder: Path, net: Net) -> list[Path]:
    paths = [folder / f"{stem}{suffix}" for stem in _FILES[net] for suffix in (".pth", ".safetensors")]
    return [path for path in paths if path.is_file()]


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping):
        raise BackendUnavailable(f"{path}: a state dict is expected, got {type(state).__name__}.")
    return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _checked(weights: Mapping[str, Tensor], net: Net) -> dict[str, Tensor]:
    """Renamed to `<index>.weight`, `<index>.bias` and `head.<level>`, in the shapes that the net needs."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if match := _TRUNK_KEY.fullmatch(name):
            found[f"{match[1]}.{match[2]}"] = tensor.float()
        elif match := _HEAD_KEY.fullmatch(name):
            found[f"head.{match[1] or match[2]}"] = tensor.float().reshape(-1, 1, 1)
    needed: dict[str, tuple[int, ...]] = {}
    for conv in _TRUNKS[net]:
        needed[f"{conv.index}.weight"] = (conv.channels, conv.channels_in, conv.kernel, conv.kernel)
        needed[f"{conv.index}.bias"] = (conv.channels,)
    for level, conv in enumerate(conv for conv in _TRUNKS[net] if conv.tap):
        needed[f"head.{level}"] = (conv.channels, 1, 1)
    for name, shape in needed.items():
        if name not in found:
            raise ValueError(f"lpips {net}: the weights lack {_long(name)}")
        if tuple(found[name].shape) != shape:
            raise ValueError(f"lpips {net}: {_long(name)} must be {shape}, got {tuple(found[name].shape)}")
    return {name: found[name] for name in needed}


def _long(name: str) -> str:
    level = name.removeprefix("head.")
    return f"lin{level}.model.1.weight" if level != name else f"features.{name}"
