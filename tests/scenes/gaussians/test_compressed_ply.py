"""Compressed PLY: steps of a round trip, the words bit by bit, files of other writers, and every fault by name."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.errors import SceneFormatError
from neural.morton import morton_order
from neural.scenes.files import ply
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.ply import compressed_ply, plain_ply
from neural.scenes.files.gaussians.record import SH_C0, SplatRecord
from tests.damage import EDITS, damaged
from tests.splat_files import assert_refused_or_valid, errors, in_order, made


def _ranges(values: np.ndarray) -> np.ndarray:
    """What the chunk of each row reaches over."""
    parts = [values[i : i + 256] for i in range(0, len(values), 256)]
    return np.concatenate([np.broadcast_to(np.ptp(part, axis=0), part.shape) for part in parts])


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("n", [1, 256, 700])
def test_round_trip(tmp_path: Path, degree: int, n: int) -> None:
    """Half a step of each quantity, in its chunk's box; rows in Morton order."""
    record = made(n, degree, antialiased=degree % 2 == 1)
    compressed_ply.write(tmp_path / "a.compressed.ply", record)
    got, wanted = compressed_ply.read(tmp_path / "a.compressed.ply"), in_order(record)
    found, steps = errors(got, wanted), np.array([2047, 1023, 2047])
    for name in ("means", "log_scales"):
        assert (found[name] <= 0.501 * _ranges(getattr(wanted, name)) / steps + 1e-6).all()
    assert (found["sh0"] <= 0.501 * _ranges(wanted.sh0) / 255 + 1e-6).all()
    assert found["opacities"].max() <= 0.5001 / 255
    assert found["quats"].max() <= 2 * np.sqrt(2) / 1023
    assert found["shN"].max(initial=0) <= 0.5001 / 32
    assert got.antialiased == record.antialiased
    assert [path.name for path in tmp_path.iterdir()] == ["a.compressed.ply"]


def test_the_words(tmp_path: Path) -> None:
    """Bits worked out by hand: two corners of a box and what lies in it."""
    record = SplatRecord(
        means=np.array([[0, 0, 0], [1, 2, 4], [1, 1, 1]], np.float32),
        quats=np.array([[1, 0, 0, 0], [0, 0, -3, 0], [0.6, 0, 0, 0.8]], np.float32),
        log_scales=np.array([[-1, -1, -1], [-1, -1, 0], [-50, -1, 0]], np.float32),
        opacity_logits=np.array([-80, 80, 0], np.float32),
        sh0=np.zeros((3, 3), np.float32),
        shN=np.array([[[0.0, 1, -9], [-1, 4, 0], [9, 0, 0]]] * 3, np.float32),
    )
    compressed_ply.write(tmp_path / "a.ply", record)
    order = morton_order(torch.from_numpy(record.means)).tolist()
    chunk, rows = ply.read(tmp_path / "a.ply", "chunk"), ply.read(tmp_path / "a.ply", "vertex")[np.argsort(order)]
    assert (chunk["max_z"][0], chunk["min_scale_x"][0], chunk["max_scale_z"][0]) == (4, -20, 0)
    assert chunk["min_r"][0] == chunk["max_b"][0] == 0.5
    z = round(2047 / 4)
    assert rows["packed_position"].tolist() == [0, 2**32 - 1, 2047 << 21 | 512 << 11 | z]
    half = 512  # of 1023, to even
    assert rows["packed_rotation"][0] == half << 20 | half << 10 | half
    assert rows["packed_rotation"][1] == 2 << 30 | half << 20 | half << 10 | half
    assert rows["packed_rotation"][2] == 3 << 30 | round(1023 * (0.6 * np.sqrt(0.5) + 0.5)) << 20 | half << 10 | half
    assert rows["packed_color"].tolist() == [0, 255, 128]
    harmonics = ply.read(tmp_path / "a.ply", "sh")[0]
    assert list(harmonics) == [128, 96, 255, 160, 255, 128, 0, 128, 128]  # red first


def test_a_file_of_another_writer(neural_data: Path, tmp_path: Path) -> None:
    """SuperSplat's, which another tool has unpacked, and our own of the same scene: as large, and no step away."""
    source = neural_data / "splats" / "biker.compressed.ply"
    record, known = formats.read(source), plain_ply.read(neural_data / "splats" / "biker.ply")
    found = errors(record, known)
    assert max(found[name].max() for name in ("means", "log_scales", "sh0")) == 0
    assert found["quats"].max() < 1e-6 and found["opacities"].max() < 0.26 / 255
    formats.write(tmp_path / "a.compressed.ply", record)
    assert abs((tmp_path / "a.compressed.ply").stat().st_size - source.stat().st_size) < 1000


def test_harmonics_of_a_real_scene(neural_data: Path, tmp_path: Path) -> None:
    record = plain_ply.read(neural_data / "splats" / "playbot_lod3.ply")
    compressed_ply.write(tmp_path / "a.ply", record)
    found = errors(formats.read(tmp_path / "a.ply"), in_order(record))
    assert found["shN"].max() <= 0.5001 / 32 and found["means"].max() < 0.02


def test_old_files_have_no_bounds_of_colours(tmp_path: Path) -> None:
    record = replace(made(5, 0), sh0=np.linspace(-1.7, 1.7, 15, dtype=np.float32).reshape(5, 3))
    compressed_ply.write(tmp_path / "a.ply", record)
    chunks = ply.read(tmp_path / "a.ply", "chunk")
    fewer = np.empty(len(chunks), dtype=[(name, "<f4") for name in (chunks.dtype.names or ())[:12]])
    for name in fewer.dtype.names or ():
        fewer[name] = chunks[name]
    rows = ply.read(tmp_path / "a.ply", "vertex")
    ply.write_elements(tmp_path / "b.ply", {"chunk": fewer, "vertex": rows})
    colors = np.stack([rows["packed_color"] >> shift & 255 for shift in (24, 16, 8)], axis=-1) / 255
    np.testing.assert_allclose(0.5 + SH_C0 * compressed_ply.read(tmp_path / "b.ply").sh0, colors, atol=1e-6)


def _dropped(*names: str):
    def change(rows: np.ndarray) -> np.ndarray:
        kept = np.empty(len(rows), [d for d in rows.dtype.descr if d[0] not in names])
        for name in kept.dtype.names or ():
            kept[name] = rows[name]
        return kept

    return change


def _infinite(rows: np.ndarray) -> np.ndarray:
    rows["max_y"] = np.inf
    return rows


def _huge(rows: np.ndarray) -> np.ndarray:
    rows["max_r"] = 3e38
    return rows


def _signalling(rows: np.ndarray) -> np.ndarray:
    rows["min_z"] = np.uint32(0x7FA00000).view(np.float32)
    return rows


FAULTS = {
    "no numbers": ("chunk", _signalling, "chunk 0 has bounds that are not finite"),
    "colours beyond fp32": ("chunk", _huge, "sh0 of row .* is not finite"),
    "a chunk too few": ("chunk", lambda rows: rows[:1], "has 1 chunks of 256 for 300 Gaussians, expected 2"),
    "no bounds": ("chunk", _dropped("max_scale_y"), "lacks properties max_scale_y of type <f4"),
    "half the colours": ("chunk", _dropped("max_b"), "lacks properties max_b"),
    "infinite bounds": ("chunk", _infinite, "chunk 0 has bounds that are not finite"),
    "no word": ("vertex", _dropped("packed_scale"), "lacks properties packed_scale of type <u4"),
    "no rows": ("vertex", lambda rows: rows[:0], "has 2 chunks of 256 for 0 Gaussians"),
    "fewer harmonics": ("sh", lambda rows: rows[:9], "has 9 rows of 9 harmonics for 300 Gaussians"),
    "other harmonics": ("sh", _dropped("f_rest_8"), "300 rows of 8 harmonics"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    element, change, message = FAULTS[fault]
    path = tmp_path / "a.compressed.ply"
    compressed_ply.write(path, made(300, 1))
    elements = {name: ply.read(path, name).copy() for name in ("chunk", "vertex", "sh")}
    ply.write_elements(path, elements | {element: change(elements[element])})
    with pytest.raises(SceneFormatError, match=rf"a\.compressed\.ply: .*{message}"):
        formats.read(path) if element != "vertex" else compressed_ply.read(path)


def test_no_chunks_at_all_are_named(tmp_path: Path) -> None:
    ply.write(tmp_path / "a.ply", np.zeros(3, dtype=[("packed_position", "<u4")]))
    with pytest.raises(SceneFormatError, match="has elements vertex, expected chunk and vertex"):
        formats.read(tmp_path / "a.ply")


@settings(max_examples=150, deadline=None)
@given(edits=EDITS, degree=st.sampled_from([0, 2]))
def test_damage_is_read_cleanly_or_refused(edits: list, degree: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ply"
        compressed_ply.write(path, made(5, degree))
        path.write_bytes(damaged(path.read_bytes(), edits))
        assert_refused_or_valid(compressed_ply.read, path)
