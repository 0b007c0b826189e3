"""The page: sections of HTML around pictures, charts and tables."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import neural
from neural import atomic
from neural.report import pictures
from neural.report.charts import chart
from neural.report.contents import Curve, Report, View
from neural.report.stage import stage

MAX_VIEWS = 12
MAX_VIDEO_BYTES = 12 << 20


def write(path: str | Path, report: Report) -> None:
    """Replace `path` by the report's page."""
    atomic.write_page(path, render(report))


def render(report: Report) -> str:
    """The page as one string."""
    here = Path(__file__).parent
    sections = [
        _header(report),
        _warnings(report.warnings),
        _section(_text(report.views_title), _views(report.views, report.truth), report.protocol)
        if report.views
        else "",
        _section("Video", _video(report.video)) if _fits(report.video) else "",
        _section("Scores", _scores(report.views, report.truth)) if report.views else "",
        _section("Training", f'<div class="charts">{"".join(map(chart, report.curves))}</div>')
        if report.curves
        else "",
        _section("Scene", _scene(report)),
        _section("Settings", _settings(report.settings)),
        _section("Do it again", _reproduce(report)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_text(report.title)} · neural</title>'
        f"<style>{(here / 'style.css').read_text('utf-8')}"
        f".ramp{{background:{pictures.error_gradient()}}}</style></head><body>"
        f"<main>{''.join(sections)}</main>"
        f"<footer>made by neural {neural.__version__} · one file, nothing is fetched</footer>"
        f"<script>{(here / 'script.js').read_text('utf-8')}</script></body></html>\n"
    )


def chosen(views: Sequence[View]) -> list[View]:
    """The views shown as pictures: all, or an even choice by score with the best and the worst in it."""
    if len(views) <= MAX_VIEWS:
        return list(views)
    ranked = sorted(range(len(views)), key=lambda index: views[index].psnr)
    picks = {ranked[round(i * (len(views) - 1) / (MAX_VIEWS - 1))] for i in range(MAX_VIEWS)}
    return [views[index] for index in sorted(picks)]


def _header(report: Report) -> str:
    tiles = "".join(_tile(label, value) for label, value in report.headline.items())
    return (
        '<header><button id="theme" title="light or dark" aria-label="light or dark">◐</button>'
        f"<h1>{_text(report.title)}</h1><p>{_text(report.subtitle)}</p>"
        f'<dl class="tiles">{tiles}</dl></header>'
    )


def _tile(label: str, value: str) -> str:
    words = ' class="words"' if not value[:1].isdigit() else ""
    return f"<div><dt>{_text(label)}</dt><dd{words}>{_text(value)}</dd></div>"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    return "<ul class='warnings'>" + "".join(f"<li>{_text(warning)}</li>" for warning in warnings) + "</ul>"


def _section(title: str, body: str, note: str = "") -> str:
    return f"<section><h2>{title}</h2>{f'<p class=note>{_text(note)}</p>' if note else ''}{body}</section>"


def _views(views: Sequence[View], truth: str) -> str:
    shown = chosen(views)
    legend = (
        '<p class="legend">Drag across a picture: <b>rendering</b> on the left, '
        f'<b>{_text(truth)}</b> on the right. Error, mean of the channels: <span class="scale">'
        f'0<i class="ramp"></i>{pictures.ERROR_AT_FULL:g}</span></p>'
    )
    more = f"<p class=note>{len(shown)} of {len(views)} views, evenly chosen by score.</p>" * (len(shown) < len(views))
    return legend + '<div class="views">' + "".join(_view(view, truth) for view in shown) + "</div>" + more


def _view(view: View, truth: str) -> str:
    height, width = view.image.shape[:2]
    name = _text(view.name)
    image, target = pictures.data_uri(view.image), pictures.data_uri(view.target)
    error = pictures.data_uri(pictures.error_map(view.image, view.target))
    ratio = f'style="aspect-ratio:{width}/{height}"'
    similar = f" · SSIM {view.ssim:.4f}" if view.ssim is not None else ""
    perceptual = f" · LPIPS {view.lpips:.3f}" if view.lpips is not None else ""
    shape = "tall" if height > width else "wide"
    return (
        f'<article class="{shape}"><div class="pair"><div class="compare" {ratio}>'
        f'<img src="{target}" alt="{_text(truth)} {name}">'
        f'<img class="over" src="{image}" alt="rendering of {name}"><span class="bar"></span>'
        '<span class="tag left">rendering</span>'
        f'<span class="tag right">{_text(truth)}</span>'
        f'<input type="range" min="0" max="100" value="50" step="0.1" aria-label="compare {name}"></div>'
        f'<div class="error" {ratio}><img src="{error}" alt="error of {name}">'
        f'<span class="tag left">error</span></div></div><footer><b>{name}</b>'
        f"<span>{_decibels(view.psnr)}{similar}{perceptual}</span></footer></article>"
    )


def _scores(views: Sequence[View], truth: str) -> str:
    high = max(view.psnr for view in views)
    with_lpips = any(view.lpips is not None for view in views)
    rows = []
    for view in views:
        share = max(view.psnr, 0.0) / high if 0 < high < float("inf") else 0.0
        bar = f'<i class="meter" style="--share:{share:.4f}"></i>'
        perceptual = f"<td>{_fraction(view.lpips)}</td>" if with_lpips else ""
        rows.append(
            f'<tr><td>{_text(view.name)}</td><td class="metered">{bar}<span>{view.psnr:.2f}</span></td>'
            f"<td>{_fraction(view.ssim)}</td>{perceptual}</tr>"
        )
    n = len(views)
    ssim, distance = (_mean([getattr(view, name) for view in views]) for name in ("ssim", "lpips"))
    mean = (
        f'<tr><td>mean of {n}</td><td class="metered"><span>{sum(v.psnr for v in views) / n:.2f}</span></td>'
        f"<td>{_fraction(ssim)}</td>" + (f"<td>{_fraction(distance)}</td>" if with_lpips else "") + "</tr>"
    )
    note = (
        ""
        if with_lpips or truth != "photograph"
        else "<p class=note>LPIPS: none (its weights are not installed, or the images are too small).</p>"
    )
    head = "<th>image</th><th>PSNR / dB</th><th>SSIM</th>" + ("<th>LPIPS</th>" if with_lpips else "")
    return (
        f'<div class="scroll"><table class="scores"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody>"
        f"<tfoot>{mean}</tfoot></table></div>{note}"
    )


def _charts(curves: Sequence[Curve]) -> str:
    return f'<div class="charts">{"".join(map(chart, curves))}</div>'


def _fits(video: Path | None) -> bool:
    return video is not None and video.is_file() and video.stat().st_size <= MAX_VIDEO_BYTES


def _video(video: Path | None) -> str:
    assert video is not None
    source = pictures.embedded(video.read_bytes(), "video/mp4")
    return f'<video controls loop muted playsinline src="{source}"></video>'


def _scene(report: Report) -> str:
    picture = ""
    if report.cameras is not None:
        picture = (
            f'<div class="stages">{stage(report.cameras)}</div>'
            '<p class="legend"><span class="key train">trained on</span>'
            '<span class="key held-out">held out</span><span class="key box">scene box</span></p>'
        )
    return picture + _facts(report.scene)


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in facts.items())
    return f'<div class="scroll"><table class="facts">{rows}</table></div>' if rows else ""


def _settings(settings: Mapping[str, Any]) -> str:
    """One fold per group; single values of the first level come first, unfolded."""
    single = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    folds = "".join(
        f"<details><summary>{_text(key)}</summary>{_facts(dict(_flat(value)))}</details>"
        for key, value in settings.items()
        if isinstance(value, Mapping)
    )
    return _facts({key: _value(value) for key, value in single.items()}) + f'<div class="folds">{folds}</div>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _value(value)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reproduce(report: Report) -> str:
    return (
        f'<div class="command"><pre><code>{_text(report.command)}</code></pre>'
        '<button class="copy">copy</button></div>' + _facts(report.environment)
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _decibels(value: float) -> str:
    return f"{value:.2f} dB" if value < float("inf") else "identical"


def _text(value: str) -> str:
    return html.escape(str(value))
