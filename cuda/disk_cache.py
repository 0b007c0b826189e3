"""A folder of compiled kernels that many processes may read and fill at once."""

import contextlib
import hashlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

LIMIT_BYTES = 256 << 20  # all cubins together; the least recently used go first
_DIGEST_BYTES = hashlib.sha256().digest_size


def cache_root() -> Path:
    """Where neural keeps what it can make again: `NEURAL_CACHE_DIR`, else the platform's cache folder."""
    chosen = os.environ.get("NEURAL_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "neural" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "neural"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neural"


class DiskCache:
    """Blobs by key, one file each: the SHA-256 of the blob, then the blob.

    A file is written under a temporary name and renamed, so a reader sees all of it or none; one that does not
    match its digest counts as absent and is replaced by the next `put`.

    Args:
        folder: Created by the first `put`.
        limit_bytes: `put` deletes the files used longest ago until the rest fits.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def get(self, key: str) -> bytes | None:
        """The blob, or None if it is not there or damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, blob = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(blob).digest() != digest:
            return None
        with contextlib.suppress(OSError):  # a read-only cache still serves
            os.utime(path)  # used now: `put` deletes it last
        return blob

    def put(self, key: str, blob: bytes) -> None:
        """Keeps the blob; a folder that cannot be written costs a warning, never the kernel."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(blob).digest() + blob)
                os.replace(temporary, self._path(key))
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            warnings.warn(
                f"compiled kernels cannot be kept in {self.folder} ({error}); every process compiles them again. "
                "Set NEURAL_CACHE_DIR to a folder that can be written",
                stacklevel=2,
            )
            return
        self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.cubin"

    def _shrink(self) -> None:
        files = []
        for path in self.folder.iterdir():  # another process may delete what is listed here
            try:
                status = path.stat()
            except OSError:
                continue
            files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit_bytes:
                return
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # open in another process on Windows
            total -= size
