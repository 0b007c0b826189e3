"""The disk cache of compiled kernels: complete or absent, bounded, never in the way."""

import os
import threading
from pathlib import Path

import pytest

from neural.cuda.disk_cache import DiskCache, cache_root


def test_gives_back_what_was_put(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new" / "folder")
    assert cache.get("a") is None
    cache.put("a", b"first")
    cache.put("a", b"second")
    assert cache.get("a") == b"second"


@pytest.mark.parametrize("damage", [b"", b"short", bytes(100)])
def test_a_damaged_file_counts_as_absent_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    cache = DiskCache(tmp_path)
    cache.put("a", b"blob")
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert cache.get("a") is None
    cache.put("a", b"blob")
    assert cache.get("a") == b"blob"


def test_a_cut_file_counts_as_absent(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put("a", bytes(range(200)))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.get("a") is None


def test_the_files_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, limit_bytes=3 * (1000 + 32))
    for age, key in enumerate("abc"):
        cache.put(key, key.encode() * 1000)
        os.utime(tmp_path / f"{key}.cubin", (age, age))
    assert cache.get("a") is not None  # used again, so b is the oldest now
    cache.put("d", b"d" * 1000)
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file")
    with pytest.warns(UserWarning, match="NEURAL_CACHE_DIR"):
        cache.put("a", b"blob")
    assert cache.get("a") is None


def test_many_writers_and_readers_see_whole_blobs(tmp_path: Path) -> None:
    blobs = [bytes([i]) * 50_000 for i in range(4)]
    seen: set[bytes | None] = set()

    def work(blob: bytes) -> None:
        cache = DiskCache(tmp_path)
        for _ in range(20):
            cache.put("a", blob)
            seen.add(cache.get("a"))

    workers = [threading.Thread(target=work, args=(blob,)) for blob in blobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen <= set(blobs)
    assert [path.name for path in tmp_path.iterdir()] == ["a.cubin"]


def test_the_environment_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURAL_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("NEURAL_CACHE_DIR")
    assert cache_root().name in ("neural", "cache")
