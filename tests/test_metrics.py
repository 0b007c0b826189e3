"""Scores against formulations that share no code with ours."""

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from neural import atomic, lpips, metrics
from neural.errors import BackendUnavailable
from neural.evaluate import Evaluation, evaluate


def images(height: int = 40, width: int = 53, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, 3, generator=generator)
    return target + 0.2 * torch.randn(height, width, 3, generator=generator), target


def ssim_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 13 with central moments, window by window, with the two-dimensional window."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            for channel in range(x.shape[2]):
                a = x[row : row + 11, column : column + 11, channel]
                b = y[row : row + 11, column : column + 11, channel]
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                cov = (window * (a - mean_a) * (b - mean_b)).sum()
                c1, c2 = 0.01**2, 0.03**2
                top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
                values.append(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    return float(np.mean(values))


def test_ssim_is_the_definition() -> None:
    image, target = images(24, 31)
    expected = ssim_by_definition(*(t.double().clamp(0, 1).numpy() for t in (image, target)))
    assert metrics.ssim(image, target) == pytest.approx(expected, abs=1e-12)


def test_ssim_keeps_its_digits_where_variances_are_tiny() -> None:
    target = torch.full((16, 16, 3), 0.9)
    image = target + 1e-3 * torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(1))
    expected = ssim_by_definition(image.double().numpy(), target.double().numpy())
    assert metrics.ssim(image, target) == pytest.approx(expected, abs=1e-12)


def test_psnr_of_a_known_error() -> None:
    target = torch.full((4, 5, 3), 0.5)
    assert metrics.psnr(target + 0.1, target) == pytest.approx(20.0, abs=1e-5)
    assert metrics.psnr(target, target) == math.inf


def test_values_are_clamped_and_not_quantised() -> None:
    target = torch.ones(16, 16, 3)
    assert metrics.psnr(target + 0.5, target) == math.inf
    tiny = target - 1e-4  # 8 bits would hide it
    assert metrics.psnr(tiny, target) == pytest.approx(80.0, abs=0.01)


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim])
def test_scores_are_symmetric_and_refuse_what_they_cannot_compare(score) -> None:
    image, target = images()
    assert score(image, target) == pytest.approx(score(target, image), abs=1e-12)
    with pytest.raises(ValueError, match=r"\(40, 53, 3\) and \(39, 53, 3\)"):
        score(image, target[1:])
    with pytest.raises(TypeError, match="divide uint8 by 255"):
        score((image * 255).byte(), (target * 255).byte())


def test_ssim_of_equal_images_is_one_and_small_images_are_refused() -> None:
    image, _ = images()
    assert metrics.ssim(image, image) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="at least 11x11"):
        metrics.ssim(image[:10], image[:10])


# LPIPS: seeded weights, checked against a NumPy network built from the papers' tables.

ALEX = [
    (0, 64, 11, 4, 2, 0),
    (3, 192, 5, 1, 2, 3),
    (6, 384, 3, 1, 1, 3),
    (8, 256, 3, 1, 1, 0),
    (10, 256, 3, 1, 1, 0),
]
VGG_BLOCKS = [(64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28))]


def layers(net: str) -> list[tuple[int, int, int, int, int, int, bool]]:
    """(index, channels, kernel, stride, padding, pool before, compared)."""
    if net == "alex":
        return [(*row, True) for row in ALEX]
    rows = []
    for block, (channels, indices) in enumerate(VGG_BLOCKS):
        for index in indices:
            pool = 2 if block and index == indices[0] else 0
            rows.append((index, channels, 3, 1, 1, pool, index == indices[-1]))
    return rows


def seeded_weights(net: str, trunk: str = "features.{}", head: str = "lin{}.model.1.weight") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    weights, channels_in, level = {}, 3, 0
    for index, channels, kernel, _, _, _, compared in layers(net):
        fan_in = channels_in * kernel**2
        weights[trunk.format(index) + ".weight"] = (
            torch.randn(channels, channels_in, kernel, kernel, generator=generator) * (2.0 / fan_in) ** 0.5
        )
        weights[trunk.format(index) + ".bias"] = 0.1 * torch.randn(channels, generator=generator)
        if compared:
            weights[head.format(level)] = torch.rand(1, channels, 1, 1, generator=generator)
            level += 1
        channels_in = channels
    return weights


def lpips_in_numpy(net: str, weights: dict[str, torch.Tensor], image: np.ndarray, target: np.ndarray) -> float:
    windows = np.lib.stride_tricks.sliding_window_view

    def taps(x: np.ndarray) -> list[np.ndarray]:
        x = (2 * np.clip(x, 0, 1) - 1 - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
        x, kept = np.moveaxis(x, 2, 0), []
        for index, _, kernel, stride, padding, pool, compared in layers(net):
            if pool:
                x = windows(x, (pool, pool), axis=(1, 2))[:, ::2, ::2].max(axis=(3, 4))
            x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
            patches = windows(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
            weight = weights[f"features.{index}.weight"].double().numpy()
            x = np.tensordot(weight, patches, axes=([1, 2, 3], [0, 3, 4]))
            x = np.maximum(x + weights[f"features.{index}.bias"].double().numpy()[:, None, None], 0)
            if compared:
                kept.append(x)
        return kept

    distance = 0.0
    for level, (a, b) in enumerate(zip(taps(image), taps(target), strict=True)):
        a, b = (x / (np.linalg.norm(x, axis=0) + 1e-10) for x in (a, b))
        head = weights[f"lin{level}.model.1.weight"].double().numpy().reshape(-1)
        distance += np.tensordot(head, (a - b) ** 2, axes=1).mean()
    return float(distance)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_the_published_network(net: lpips.Net) -> None:
    image, target = images(47, 64)
    weights = seeded_weights(net)
    expected = lpips_in_numpy(net, weights, image.double().numpy(), target.double().numpy())
    ours = lpips.Lpips(weights, net)
    assert ours(image, target) == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-3
    assert ours(target, target) == 0.0


def test_lpips_loads_a_folder_a_file_and_the_original_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, target = images(40, 40)
    weights = seeded_weights("alex")
    expected = lpips.Lpips(weights)(image, target)
    trunk = {name: tensor for name, tensor in weights.items() if name.startswith("features")}
    torch.save(trunk, tmp_path / "alexnet-owt-7be5be79.pth")
    torch.save({n: t for n, t in weights.items() if n not in trunk}, tmp_path / "alex.pth")
    safetensors.torch.save_file(weights, tmp_path / "one.safetensors")
    torch.save(seeded_weights("alex", trunk="net.slice1.{}"), tmp_path / "original.pt")
    for place in (tmp_path, tmp_path / "one.safetensors", tmp_path / "original.pt"):
        monkeypatch.setenv("NEURAL_LPIPS_WEIGHTS", str(place))
        loaded = lpips.load("alex")
        assert loaded is not None
        assert loaded(image, target) == expected


def test_lpips_finds_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURAL_LPIPS_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert lpips.load("vgg") is None
    (tmp_path / "checkpoints").mkdir()
    weights = seeded_weights("alex")
    torch.save(
        {n: t for n, t in weights.items() if n.startswith("features")},
        tmp_path / "checkpoints/alexnet-owt-7be5be79.pth",
    )
    assert lpips.load("alex") is None  # a trunk without heads gives no score
    torch.save({n: t for n, t in weights.items() if n.startswith("lin")}, tmp_path / "checkpoints/alex.pth")
    assert lpips.load("alex") is not None


def test_lpips_refuses_unusable_weights_naming_the_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = seeded_weights("alex")
    with pytest.raises(ValueError, match=r"features\.3\.bias must be \(192,\), got \(7,\)"):
        lpips.Lpips({**weights, "features.3.bias": torch.zeros(7)})
    del weights["lin2.model.1.weight"]
    torch.save(weights, tmp_path / "a.pth")
    monkeypatch.setenv("NEURAL_LPIPS_WEIGHTS", str(tmp_path / "a.pth"))
    with pytest.raises(BackendUnavailable, match=r"lack lin2\.model\.1\.weight"):
        lpips.load("alex")
    monkeypatch.setenv("NEURAL_LPIPS_WEIGHTS", str(tmp_path / "missing"))
    with pytest.raises(BackendUnavailable, match="no weights of LPIPS alex there"):
        lpips.load("alex")


def test_evaluate_writes_the_contracts_line_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURAL_LPIPS_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "no hub"))
    pairs = [images(seed=seed) for seed in range(4)]
    result = evaluate(
        lambda i: pairs[i][0], lambda i: pairs[i][1], [1, 3], names=["a", "b", "c", "d"],
        background="white", split="test", out=tmp_path, progress=False,
    )  # fmt: skip
    psnrs, ssims = ([score(*pairs[i]) for i in (1, 3)] for score in (metrics.psnr, metrics.ssim))
    first, second = str(result).splitlines()
    assert first == f"mean PSNR {np.mean(psnrs):.2f} dB SSIM {np.mean(ssims):.4f} (2 images, white, test)"
    assert second == "mean LPIPS not installed"
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert stored["mean"] == {
        "psnr": pytest.approx(np.mean(psnrs)),
        "ssim": pytest.approx(np.mean(ssims)),
        "lpips": None,
    }
    assert [image["name"] for image in stored["images"]] == ["b", "d"]
    assert stored["lpips_net"] == "not installed"


def test_corrected_undoes_an_affine_map_of_colours_and_nothing_else() -> None:
    image, _ = images(seed=3)
    matrix = torch.tensor([[0.7, 0.1, 0.0], [0.0, 0.8, -0.1], [0.05, 0.0, 0.6]])
    target = image @ matrix.T + torch.tensor([0.1, 0.05, 0.2])
    assert metrics.psnr(image, target) < 25
    torch.testing.assert_close(metrics.corrected(image, target), target.double(), atol=1e-6, rtol=0)
    noise = 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    error = (metrics.corrected(image, target + noise) - target - noise).square().mean()
    assert float(error) == pytest.approx(0.05**2, rel=0.05)  # what no map of colours explains stays


def test_corrected_is_fitted_where_a_mask_counts() -> None:
    image, _ = images(seed=4)
    mask = torch.zeros(image.shape[:2], dtype=torch.bool)
    mask[:, : image.shape[1] // 2] = True
    target = torch.where(mask[..., None], 0.5 * image + 0.1, torch.rand_like(image))
    assert metrics.psnr(metrics.corrected(image, target, mask), target.double(), mask) > 80
    grey = torch.full_like(image, 0.5)
    torch.testing.assert_close(metrics.corrected(grey, grey * 0.6), grey.double() * 0.6, atol=1e-6, rtol=0)


def test_evaluate_scores_corrected_colours_where_exposures_were_learnt(tmp_path: Path) -> None:
    image, _ = images(seed=5)
    told = evaluate(
        lambda i: image, lambda i: 0.7 * image, [0], names=["a"], background="none", split="test", out=tmp_path,
        progress=False, correct_colors=True,
    )  # fmt: skip
    assert told.psnr < 30 and told.corrected_psnr is not None and told.corrected_psnr > 80
    assert f"mean PSNR {told.corrected_psnr:.2f} dB after colour correction" in str(told).splitlines()[1]
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert stored["mean"]["corrected_psnr"] == stored["images"][0]["corrected_psnr"] == told.corrected_psnr
    assert "PSNR, colours corrected" in told.tiles()


def test_evaluate_scores_lpips_where_weights_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(seeded_weights("alex"), tmp_path / "w.pth")
    monkeypatch.setenv("NEURAL_LPIPS_WEIGHTS", str(tmp_path / "w.pth"))
    image, target = images()
    result = evaluate(
        lambda i: image, lambda i: target, [0], names=["a"], background="none", split="test", progress=False
    )
    assert result.lpips == pytest.approx(lpips.Lpips(seeded_weights("alex"))(image, target))
    assert str(result).splitlines()[1] == f"mean LPIPS {result.lpips:.4f} (alex)"


def test_images_too_small_for_a_score_say_so_and_do_not_count_in_its_mean(monkeypatch, tmp_path: Path) -> None:
    torch.save(seeded_weights("alex"), tmp_path / "w.pth")
    monkeypatch.setenv("NEURAL_LPIPS_WEIGHTS", str(tmp_path / "w.pth"))
    pairs = [images(10, 40), images(11, 31), images(40, 40)]

    def scored(*indices: int) -> Evaluation:
        return evaluate(
            lambda i: pairs[i][0], lambda i: pairs[i][1], indices, names="abc", background="none", split="test",
            progress=False,
        )  # fmt: skip

    small = scored(0)
    assert str(small).splitlines() == [
        f"mean PSNR {small.psnr:.2f} dB SSIM needs 11x11 pixels (1 image, none, test)",
        "mean LPIPS needs 32x32 pixels",
    ]
    assert small.as_dict()["mean"]["ssim"] is None
    all_three = scored(0, 1, 2)
    assert all_three.ssim == pytest.approx((metrics.ssim(*pairs[1]) + metrics.ssim(*pairs[2])) / 2)
    assert all_three.lpips == scored(2).lpips


def test_evaluate_refuses_an_empty_split_and_equal_images_have_no_finite_psnr() -> None:
    def image(_: int) -> torch.Tensor:
        return torch.full((32, 32, 3), 0.5)

    with pytest.raises(ValueError, match="'test' has no images"):
        evaluate(image, image, [], names=[], background="none", split="test")
    result = evaluate(image, image, [0], names=["a"], background="none", split="test", progress=False)
    assert result.as_dict()["mean"]["psnr"] is None


def test_a_mask_takes_pixels_out_of_the_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(30, 40, 3, generator=generator)
    image = target + 0.05 * torch.randn(30, 40, 3, generator=generator)
    spoilt = image.clone()
    mask = torch.ones(30, 40, dtype=torch.bool)
    mask[:, 30:] = False
    spoilt[:, 30:] = 1 - target[:, 30:]
    assert metrics.psnr(spoilt, target, mask) == pytest.approx(metrics.psnr(image[:, :30], target[:, :30]))
    assert metrics.ssim(spoilt, target, mask) == pytest.approx(metrics.ssim(image, target, mask))
    assert metrics.ssim(spoilt, target, mask) > metrics.ssim(spoilt, target) + 0.1
    everything = torch.ones(30, 40, dtype=torch.bool)
    assert metrics.psnr(image, target, everything) == metrics.psnr(image, target)
    assert metrics.ssim(image, target, everything) == pytest.approx(metrics.ssim(image, target))
    assert metrics.psnr(spoilt, target, ~everything) == float("inf")
    assert metrics.ssim(spoilt, target, ~everything) == 1.0


@pytest.mark.parametrize(("number", "told"), [(errno.EROFS, True), (errno.ENOSPC, False)])
def test_scores_of_a_run_that_may_only_be_read_are_told(monkeypatch, tmp_path: Path, capsys, number, told) -> None:
    def refuses(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic, "write_json", refuses)
    image, target = images()

    def scored() -> Evaluation:
        return evaluate(
            lambda i: image, lambda i: target, [0], names=["a"], background="none", split="test", out=tmp_path,
            progress=False,
        )  # fmt: skip

    if told:
        assert scored().psnr > 0 and "eval.json is not written: Read-only" in capsys.readouterr().err
    else:
        with pytest.raises(OSError, match="No space"):
            scored()
