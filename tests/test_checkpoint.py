"""Checkpoints come back bit-equal, and whatever goes wrong while one is written leaves the one before it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neural import atomic, checkpoint
from neural.errors import CheckpointError, NotSaved

CRASHER = Path(__file__).with_name("checkpoint_crasher.py")


def state(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    table = torch.randn(64, 8, generator=generator)
    return {
        "model/table": table,
        "optim/table/exp_avg": table.T,  # a view with other strides, sharing memory
        "ema/half": table[:3].to(torch.bfloat16),
        "occupancy/bits": torch.arange(16, dtype=torch.uint8),
        "sampler/generator": generator.get_state(),
        "scale/scalar": torch.tensor(float(step), dtype=torch.float64),
        "model/empty": torch.zeros(0, 4),
    }


def assert_equal(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype, name
        assert torch.equal(tensors[name], tensor), name


def test_what_is_saved_comes_back_bit_equal(tmp_path: Path) -> None:
    meta = {"config": {"lr": 1e-2, "name": "Füchse"}, "rays": 3}
    folder = checkpoint.save(tmp_path, 120, state(120), meta)
    loaded = checkpoint.load_latest(tmp_path)
    assert folder == tmp_path / "checkpoints" / "120"
    assert (loaded.step, loaded.meta) == (120, meta)
    assert_equal(loaded.tensors, state(120))
    assert checkpoint.latest_step(tmp_path) == 120


def test_last_two_are_kept_and_leftovers_swept(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    (root / "7.tmp").mkdir(parents=True)
    (root / "notes.txt").write_text("not ours")
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, state(step), {})
    assert sorted(path.name for path in root.iterdir()) == ["20", "30", "latest", "notes.txt"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 10, state(1), {"try": 1})
    checkpoint.save(tmp_path, 10, state(2), {"try": 2})
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded.meta == {"try": 2}
    assert_equal(loaded.tensors, state(2))


def _truncate(folder: Path) -> None:
    os.truncate(folder / "tensors.safetensors", 100)


def _flip_a_bit(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def _break_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": "neural-check')


def _foreign_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[1, 2]")


def _deep_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[" * 200_000)


def _remove_tensors(folder: Path) -> None:
    (folder / "tensors.safetensors").unlink()


@pytest.mark.parametrize(
    "damage", [_truncate, _flip_a_bit, _break_meta, _foreign_meta, _deep_meta, _remove_tensors, shutil.rmtree]
)
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, damage) -> None:
    for step in (10, 20):
        checkpoint.save(tmp_path, step, state(step), {})
    damage(tmp_path / "checkpoints" / "20")
    if damage is shutil.rmtree:
        loaded = checkpoint.load_latest(tmp_path)
    else:
        with pytest.warns(RuntimeWarning, match=r"damaged.*step 10.*20"):
            loaded = checkpoint.load_latest(tmp_path)
    assert loaded.step == 10
    assert_equal(loaded.tensors, state(10))
    checkpoint.save(tmp_path, 15, state(15), {})  # going on from 10 forgets the damaged 20
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "15", "latest"]
    assert checkpoint.load_latest(tmp_path).step == 15


def test_all_damaged_is_refused_with_every_reason(tmp_path: Path) -> None:
    for step in (10, 20):
        checkpoint.save(tmp_path, step, state(step), {})
        _truncate(tmp_path / "checkpoints" / str(step))
    with pytest.raises(CheckpointError, match=r"20.*100 bytes.*10.*--overwrite"):
        checkpoint.load_latest(tmp_path)


def test_no_checkpoint_is_refused(tmp_path: Path) -> None:
    assert checkpoint.latest_step(tmp_path) is None
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        checkpoint.load_latest(tmp_path)


def test_another_version_is_refused_naming_both(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 10, state(10), {})
    head = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**head, "version": 99}))
    with pytest.raises(CheckpointError, match=r"version 99.*reads version 1.*--overwrite"):
        checkpoint.load_latest(tmp_path)


def test_names_outside_the_contract_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'weights' must begin with one of model/, optim/"):
        checkpoint.save(tmp_path, 1, {"weights": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="step must be 0 or more"):
        checkpoint.save(tmp_path, -1, {}, {})
    assert not (tmp_path / "checkpoints").exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 10, state(10), {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for place in ("save_file", "write_json", "fsync"):
        with monkeypatch.context() as patch:
            module = {"save_file": checkpoint.safetensors.torch, "write_json": atomic, "fsync": os}[place]
            patch.setattr(module, place, full)
            with pytest.raises(NotSaved, match=r"20.*No space left.*intact.*make room"):
                checkpoint.save(tmp_path, 20, state(20), {})
        assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "latest"]
        assert_equal(checkpoint.load_latest(tmp_path).tensors, state(10))


def test_a_really_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        checkpoint.save(disk, 10, {"model/a": torch.ones(10_000)}, {})
        with pytest.raises(CheckpointError, match=r"(?i)no space left.*intact"):
            checkpoint.save(disk, 20, {"model/a": torch.ones(80_000)}, {})
        loaded = checkpoint.load_latest(disk)
        assert loaded.step == 10
        assert torch.equal(loaded.tensors["model/a"], torch.ones(10_000))
        checkpoint.save(disk, 30, {"model/a": torch.zeros(10_000)}, {})  # nothing was left lying about
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the process that is killed")
@pytest.mark.parametrize("mode", ["every-call", "random-moments"])
def test_kill_at_any_moment_leaves_a_readable_latest(tmp_path: Path, mode: str) -> None:
    done = subprocess.run(
        [sys.executable, str(CRASHER), mode, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 10  # kills that were survived
