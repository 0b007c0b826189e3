"""A picture of the matrix: a panel per application, a bar per encoding, split into what a frame's time goes to."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont

STAGES = (("encoding", "#3b6fb6"), ("network", "#e08a3c"), ("rest", "#b9bec6"))
INK, FAINT, PAPER = "#1d2430", "#6b7482", "#ffffff"
BAR, GAP, LABEL, PANEL_GAP, MARGIN, SCALE = 26, 14, 96, 54, 28, 2
WIDTH = 620  # of the longest bar


class Measured(Protocol):
    """What of a cell is drawn; see `tests.bench.applications.Cell`."""

    application: str
    setting: str
    about: str
    table: int
    network: int
    ms: float
    encoding_share: float
    network_share: float
    rest_share: float
    quality: float
    unit: str


def draw(cells: Sequence[Measured]) -> Image.Image:
    """Bars within a panel share one scale; panels do not, since frames of applications differ by magnitudes."""
    panels: dict[str, list[Measured]] = {}
    for cell in cells:
        panels.setdefault(cell.application, []).append(cell)
    height = MARGIN + 30 + sum(PANEL_GAP + len(panel) * (BAR + GAP) for panel in panels.values()) + MARGIN
    image = Image.new("RGB", (SCALE * (2 * MARGIN + LABEL + WIDTH + 330), SCALE * height), PAPER)
    page = _Page(ImageDraw.Draw(image))
    page.text(MARGIN, MARGIN - 8, "CPU time of a frame at one thread", 17, INK)
    x = MARGIN + 310
    for stage, color in STAGES:
        page.box(x, MARGIN - 6, 14, 14, color)
        page.text(x + 20, MARGIN - 7, stage, 14, INK)
        x += 110
    y = MARGIN + 26
    for name, panel in panels.items():
        page.text(MARGIN, y + 8, name, 17, INK)
        page.text(MARGIN + LABEL, y + 11, panel[0].about, 12, FAINT)
        y += PANEL_GAP - 16
        longest = max(cell.ms for cell in panel)
        for cell in panel:
            _bar(page, cell, y, longest)
            y += BAR + GAP
        y += 16
    return image


def _bar(page: "_Page", cell: Measured, y: float, longest: float) -> None:
    page.text(MARGIN, y + 4, cell.setting, 14, INK)
    x = float(MARGIN + LABEL)
    for (_, color), share in zip(STAGES, (cell.encoding_share, cell.network_share, cell.rest_share), strict=True):
        width = WIDTH * cell.ms / longest * share / 100
        page.box(x, y, width, BAR, color)
        if width > 34:
            page.text(x + width / 2 - 11, y + 6, f"{share:.0f} %", 12, PAPER if color != STAGES[2][1] else INK)
        x += width
    quality = f"{cell.quality:.2f} dB" if cell.unit == "dB" else f"{cell.unit} {cell.quality:.4f}"
    values = cell.table + cell.network
    size = f"{values / 1e6:.2f} M" if values >= 1e6 else f"{values / 1e3:.0f} k"
    page.text(x + 8, y + 4, f"{cell.ms:,.0f} ms · {quality} · {size}", 14, INK)


class _Page:
    """Draws in units of a page that is made `SCALE` times as large."""

    def __init__(self, canvas: ImageDraw.ImageDraw) -> None:
        self.canvas = canvas

    def text(self, x: float, y: float, text: str, size: int, color: str) -> None:
        self.canvas.text((SCALE * x, SCALE * y), text, fill=color, font=ImageFont.load_default(SCALE * size))

    def box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        corners = (SCALE * x, SCALE * y, SCALE * (x + width), SCALE * (y + height))
        self.canvas.rectangle(corners, fill=color)
