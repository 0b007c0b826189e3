"""Checkpoints that survive `kill -9`, a full disk and a damaged file.

    RUN/checkpoints/<step>/tensors.safetensors    every tensor, by name
    RUN/checkpoints/<step>/meta.json              format version, step, checksum, the caller's meta
    RUN/checkpoints/latest                        the newest complete <step>, as text

A save fills `<step>.tmp`, flushes it, renames it, and only then replaces `latest`: whatever moment the
process dies, `latest` names a complete checkpoint. The last two are kept. Nothing is ever pickled.
"""

import json
import os
import re
import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from neural import atomic
from neural.errors import CheckpointError, NotSaved

FORMAT = "neural-checkpoint"
FORMAT_VERSION = 1
KEPT = 2
PREFIXES = ("model/", "optim/", "ema/", "occupancy/", "sampler/", "scale/")
MAX_META_BYTES = 64 << 20

_FOLDER = re.compile(r"\d{1,15}(\.old)?")
_LEFT_BEHIND = re.compile(r"\d{1,15}(\.old|\.tmp)?")


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on as if it had never stopped."""

    step: int
    tensors: dict[str, Tensor]
    """On the CPU; each name begins with one of `PREFIXES`."""
    meta: dict[str, Any]


def save(run_dir: str | Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
    """Write a checkpoint and make it the latest.

    Args:
        run_dir: The run's folder; created if missing.
        step: Number of steps done.
        tensors: Any device, any strides; each name begins with one of `PREFIXES`.
        meta: Anything that JSON holds, without NaN.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: For a tensor name outside the contract or a negative step.
        NotSaved: If the disk refuses (full, read-only); earlier checkpoints are untouched.
    """
    _check_names(step, tensors)
    root = Path(run_dir) / "checkpoints"
    target, temporary = root / str(step), root / f"{step}.tmp"
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            _write_folder(temporary, step, tensors, meta)
            _put_in_place(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        atomic.write_text(root / "latest", f"{step}\n")
        _prune(root, step)
    except (OSError, safetensors.SafetensorError) as error:
        raise NotSaved(
            f"{target}: the checkpoint could not be written ({error}). Earlier checkpoints are intact; "
            f"make room ({_megabytes(tensors)} MB are needed), then run the same command again."
        ) from error
    return target


def load_latest(run_dir: str | Path) -> Checkpoint:
    """Read the newest checkpoint of a run that is whole.

    A damaged newest checkpoint is passed over with a `RuntimeWarning` that names the damage.

    Raises:
        CheckpointError: If there is none, none is readable, or it was written in another format version.
    """
    root = Path(run_dir) / "checkpoints"
    damages: list[str] = []
    for folder in _candidates(root):
        try:
            checkpoint = _read_folder(folder)
        except _Damaged as damage:
            damages.append(f"{folder}: {damage}")
            continue
        if damages:
            warnings.warn(
                f"damaged checkpoint passed over, going on from step {checkpoint.step}: " + "; ".join(damages),
                RuntimeWarning,
                stacklevel=2,
            )
        return checkpoint
    if damages:
        raise CheckpointError("no checkpoint can be read: " + "; ".join(damages) + ". Start anew with --overwrite.")
    raise CheckpointError(f"{run_dir}: no checkpoint there; train it first, or give the folder that --out named.")


def latest_step(run_dir: str | Path) -> int | None:
    """Step of the checkpoint that `load_latest` tries first, None if there is none; reads names only."""
    candidates = _candidates(Path(run_dir) / "checkpoints")
    return _step_of(candidates[0]) if candidates else None


class _Damaged(Exception):
    """A checkpoint that cannot be read, and why; never leaves this module."""


def _check_names(step: int, tensors: Mapping[str, Tensor]) -> None:
    if step < 0:
        raise ValueError(f"checkpoint: step must be 0 or more, got {step}")
    for name in tensors:
        if not name.startswith(PREFIXES):
            raise ValueError(f"checkpoint: tensor name {name!r} must begin with one of {', '.join(PREFIXES)}")


def _write_folder(folder: Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    path = folder / "tensors.safetensors"
    plain = {name: _owned(tensor) for name, tensor in tensors.items()}
    safetensors.torch.save_file(plain, path)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    head = {"format": FORMAT, "version": FORMAT_VERSION, "step": step}
    check = {"bytes": path.stat().st_size, "crc32": _crc32(path), "names": sorted(plain)}
    atomic.write_json(folder / "meta.json", {**head, "tensors": check, "meta": dict(meta)})


def _owned(tensor: Tensor) -> Tensor:
    """On the CPU and owner of its memory: safetensors refuses tensors that share some."""
    tensor = tensor.detach()
    whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.cpu() if whole else tensor.contiguous().clone().cpu()


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename; a checkpoint of the same step waits as `.old` meanwhile, where `load_latest` finds it."""
    old = target.with_name(f"{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    os.rename(temporary, target)
    atomic.sync_folder(target.parent)


def _prune(root: Path, step: int) -> None:
    """Keep this step and the one before it; remove the rest, half-written ones included."""
    complete = sorted((_step_of(path) for path in _complete(root) if not path.suffix), reverse=True)
    kept = {str(earlier) for earlier in [s for s in complete if s <= step][:KEPT]}
    for path in root.iterdir():
        if path.is_dir() and _LEFT_BEHIND.fullmatch(path.name) and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(".latest."):
            path.unlink(missing_ok=True)


def _complete(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and _FOLDER.fullmatch(path.name)] if root.is_dir() else []


def _step_of(folder: Path) -> int:
    return int(folder.name.removesuffix(".old"))


def _candidates(root: Path) -> list[Path]:
    """Folders in the order of trying: the one that `latest` names, then from the newest down."""
    try:
        named = (root / "latest").read_text("utf-8", errors="replace").strip()
    except OSError:
        named = ""
    return sorted(_complete(root), key=lambda p: (p.name == named, _step_of(p), not p.suffix), reverse=True)


def _read_folder(folder: Path) -> Checkpoint:
    head = _read_meta(folder / "meta.json")
    if head.get("format") != FORMAT:
        raise _Damaged(f'meta.json: "format" must be {FORMAT!r}, got {head.get("format")!r}')
    if head.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder}: checkpoint format version {head.get('version')!r}, "
            f"this neural reads version {FORMAT_VERSION}. "
            "Use the version of neural that wrote it, or start anew with --overwrite."
        )
    step, meta, check = head.get("step"), head.get("meta"), head.get("tensors")
    if step != _step_of(folder) or not isinstance(meta, dict) or not isinstance(check, dict):
        raise _Damaged(f'meta.json: "step", "meta" or "tensors" is missing or wrong (step {step!r})')
    path = folder / "tensors.safetensors"
    try:
        size = path.stat().st_size
        if size != check.get("bytes"):
            raise _Damaged(f"{path.name} has {size} bytes, {check.get('bytes')!r} expected")
        if _crc32(path) != check.get("crc32"):
            raise _Damaged(f"{path.name}: the checksum does not agree")
        # Clones: what safetensors hands out is a view of the mapped file, which a later save removes.
        tensors = {name: tensor.clone() for name, tensor in _loaded(path).items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise _Damaged(f"{path.name}: {error}") from error
    if sorted(tensors) != check.get("names"):
        raise _Damaged(f"{path.name}: the tensors are not those that meta.json lists")
    return Checkpoint(step, tensors, meta)


def _loaded(path: Path) -> dict[str, Tensor]:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # a path of other bytes, which safetensors writes to but does not open
        return safetensors.torch.load(path.read_bytes())
    return safetensors.torch.load_file(path)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_META_BYTES:
            raise _Damaged(f"{path.name} is larger than {MAX_META_BYTES >> 20} MiB")
        head = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _Damaged(f"{path.name}: {error}") from error
    if not isinstance(head, dict):
        raise _Damaged(f"{path.name}: an object is expected, got {type(head).__name__}")
    return head


def _crc32(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def _megabytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values()) // 10**6 + 1
