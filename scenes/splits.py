"""Which images are trained on and which are held out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from neural.errors import SceneFormatError


def every_nth(names: Sequence[str], n: int = 8) -> dict[str, tuple[int, ...]]:
    """Hold out every n-th image in the order of sorted names, beginning with the first; n = 0 holds out none.

    Source: Mildenhall et al. 2019, "Local Light Field Fusion", whose every-8th rule most captures follow.
    """
    order = sorted(range(len(names)), key=lambda i: names[i])
    test = set(order[::n]) if n else set()
    return {
        "train": tuple(i for i in range(len(names)) if i not in test),
        "test": tuple(sorted(test)),
    }


def named(
    source: Path, names: Sequence[str], members: Mapping[str, Sequence[str]]
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Indices of splits that a file lists by image name, and a warning about names without an image.

    A capture that names only "train" and "val" is tested on "val".

    Raises:
        SceneFormatError: An image would be both trained on and tested on.
    """
    index = {name: i for i, name in enumerate(names)}
    splits = {split: tuple(sorted({index[m] for m in listed if m in index})) for split, listed in members.items()}
    if not splits.get("test") and splits.get("val"):
        splits["test"] = splits["val"]
    both = set(splits.get("train", ())) & set(splits.get("test", ()))
    if both:
        raise SceneFormatError(
            source, f"{names[min(both)]!r} is in the train and the test split; remove it from one of them"
        )
    unknown = [m for listed in members.values() for m in listed if m not in index]
    warnings = (f"{len(unknown)} names in the splits have no image (first: {unknown[0]}).",) if unknown else ()
    return splits, warnings


def check(source: Path, splits: Mapping[str, tuple[int, ...]], *, allow_empty_test: bool) -> None:
    """Refuse an empty training or test split.

    Raises:
        SceneFormatError: Names the split and the remedy.
    """
    if not splits.get("train"):
        remedy = "name train images, or hold out none: --split-every 0, load(..., test_every=0)"
        raise SceneFormatError(source, f"the train split is empty, all images are held out; {remedy}")
    if not splits.get("test") and not allow_empty_test:
        raise SceneFormatError(
            source, "the test split is empty; name test images, or load with test_every=0 to do without"
        )
