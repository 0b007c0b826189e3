"""What a folder of photographs holds: EXIF, masks, blur, duplicates, and files that lie."""

import io
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from neural.errors import SceneFormatError
from neural.scenes import photos
from neural.scenes.photographs import exif, masks, quality, survey
from neural.scenes.photographs.survey import cameras_of


def picture(seed: int = 0, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Noise with detail at several sizes."""
    generator = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0]))
    for octave in (3, 4, 5, 6, 7):
        small = Image.fromarray(generator.random((1 << octave, 1 << octave)).astype(np.float32))
        total += np.asarray(small.resize(size, Image.Resampling.BICUBIC)) * 0.8**octave
    return Image.fromarray(np.uint8(255 * (total - total.min()) / np.ptp(total))).convert("RGB")


def with_exif(details: dict[int, object], base: dict[int, object] | None = None, size: tuple[int, int] = (1000, 750)):
    file = io.BytesIO()
    data = Image.Exif()
    data.update(base or {})
    data.get_ifd(0x8769).update(details)
    Image.new("RGB", size).save(file, "JPEG", exif=data)
    return exif.read(Image.open(file))


def test_the_focal_length_follows_the_pitch_of_the_picture_as_it_was_taken() -> None:
    """4.5 mm, 16393 pixels an inch, taken 4000 wide and since reduced to 1000: 4.5 / 6.198 of the width."""
    said = with_exif({37386: 4.5, 41486: 16393.44262, 41488: 2, 40962: 4000, 40963: 3000})
    assert said.focal == pytest.approx(4.5 / (4000 * 25.4 / 16393.44262) * 1000, rel=1e-4)
    assert said.focal_mm == 4.5


@pytest.mark.parametrize(("unit", "millimetres"), [(None, 25.4), (2, 25.4), (3, 10.0), (4, 1.0), (5, 0.001)])
def test_the_pitch_is_in_its_own_unit_along_the_longer_side(unit: int | None, millimetres: float) -> None:
    """A sensor of 18 x 24 mm, 3000 x 4000 pixels, held upright and since reduced to a quarter."""
    said = {37386: 30.0, 41486: 4000 / 24 * millimetres, 41488: unit, 40962: 3000, 40963: 4000}
    found = with_exif({tag: value for tag, value in said.items() if value is not None}, size=(750, 1000))
    assert found.focal == pytest.approx(30 / 24 * 1000, rel=1e-4)


def test_a_photograph_was_taken_when_it_was_and_not_when_it_was_changed() -> None:
    assert with_exif({36867: "2020:01:02 03:04:05"}, {306: "2024:01:01 00:00:00"}).taken == "2020:01:02 03:04:05"
    assert with_exif({}, {306: "2024:01:01 00:00:00"}).taken == "2024:01:01 00:00:00"


def test_the_focal_length_of_a_telephone_follows_the_diagonal() -> None:
    assert with_exif({41989: 26}).focal == pytest.approx(26 / math.hypot(36, 24) * 1250)


@pytest.mark.parametrize(
    "details", [{}, {37386: 4.5}, {41989: 0}, {41989: 1}, {37386: 4.5, 41486: 1e-9, 41488: 2, 40962: 4000}]
)
def test_absurd_focal_lengths_are_not_believed(details: dict[int, object]) -> None:
    assert with_exif(details).focal is None


def with_gps(**changes: object) -> exif.Exif:
    """1 degree 30' 36" south, 4 degrees 7.2" west, 12.5 m below the sea, and changes by the names of EXIF's fields."""
    numbers = {"GPSLatitudeRef": 1, "GPSLatitude": 2, "GPSLongitudeRef": 3, "GPSLongitude": 4, "GPSAltitudeRef": 5,
               "GPSAltitude": 6}  # fmt: skip
    fields = dict(zip(numbers, ("S", (1.0, 30.0, 36.0), "W", (4.0, 0.0, 7.2), b"\x01", 12.5), strict=True)) | changes
    file, data = io.BytesIO(), Image.Exif()
    data.get_ifd(0x8825).update({numbers[name]: value for name, value in fields.items() if value is not None})
    Image.new("RGB", (80, 80)).save(file, "JPEG", exif=data)
    return exif.read(Image.open(file))


def test_places_are_read_with_their_signs() -> None:
    assert with_gps().gps == pytest.approx((-1.51, -4.002, -12.5), abs=1e-6)
    other = with_gps(GPSLatitudeRef="N", GPSLongitudeRef="E", GPSAltitudeRef=b"\x00")
    assert other.gps == pytest.approx((1.51, 4.002, 12.5), abs=1e-6)
    greenwich, equator = with_gps(GPSLongitude=(0.0, 0.0, 0.0)), with_gps(GPSLatitude=(0.0, 0.0, 0.0))
    assert greenwich.gps == pytest.approx((-1.51, 0, -12.5)) and equator.gps == pytest.approx((0, -4.002, -12.5))
    for unknown in (None, 2e5):
        gps = with_gps(GPSAltitude=unknown).gps
        assert gps is not None and math.isnan(gps[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"GPSLatitude": (91.0, 0.0, 0.0)}, {"GPSLongitude": (181.0, 0.0, 0.0)}, {"GPSLatitude": None},
        {"GPSLatitude": (0.0, 0.0, 0.0), "GPSLongitude": (0.0, 0.0, 0.0)},
    ],
)  # fmt: skip
def test_places_that_are_none_are_not_believed(changes: dict[str, object]) -> None:
    assert with_gps(**changes).gps is None


def test_orientations_that_are_none_are_upright() -> None:
    assert [with_exif({}, {274: said}).orientation for said in (1, 6, 8, 0, 9, 65535)] == [1, 6, 8, 1, 1, 1]


@settings(max_examples=60)
@given(st.binary(min_size=0, max_size=300), st.integers(0, 200))
def test_damaged_exif_never_raises(noise: bytes, at: int) -> None:
    file = io.BytesIO()
    data = Image.Exif()
    data[271] = "Maker"
    data.get_ifd(0x8769)[37386] = 4.5
    data.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (4.0, 5.0, 6.0)})
    block = data.tobytes()
    Image.new("RGB", (80, 80)).save(file, "JPEG", exif=block[:at] + noise + block[at + len(noise) :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, which looks at EXIF when it opens a file
        said = exif.read(Image.open(io.BytesIO(file.getvalue())))
    assert said.orientation in range(1, 9)
    assert said.focal is None or said.focal > 0


@pytest.mark.parametrize(
    ("mask", "photograph"),
    [
        ("masks/a.png", "a.jpg"), ("masks/b/a.png", "b/a.jpg"), ("b/masks/a.png", "b/a.jpg"), ("a.jpg.png", "a.jpg"),
        ("a_mask.png", "a.jpg"), ("mask_a.png", "a.jpg"), ("masks/a.jpg.png", "a.jpg"), ("masks/a.png", "images/a.jpg"),
    ],
)  # fmt: skip
def test_masks_are_found_by_their_names_and_are_no_photographs(tmp_path: Path, mask: str, photograph: str) -> None:
    for name in (mask, photograph):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert masks.mask_of(tmp_path / photograph, tmp_path) == tmp_path / mask
    assert masks.is_mask(tmp_path / mask, tmp_path)
    assert not masks.is_mask(tmp_path / photograph, tmp_path)


def test_masks_of_another_size_are_named_and_not_used(tmp_path: Path) -> None:
    for index in range(3):
        picture(index).save(tmp_path / f"{index}.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (10, 10)).save(tmp_path / "masks" / "0.png")
    (tmp_path / "masks" / "1.png").write_text("no picture")
    found = survey.survey(tmp_path, progress=False)
    assert [one.mask for one in found.photographs] == [None] * 3
    assert "10 x 10" in found.warnings[0] and "not an image" in found.warnings[1]


def test_a_mask_that_lies_on_its_side_is_not_used(tmp_path: Path) -> None:
    """Its photograph is turned by EXIF, and the mask was drawn on the upright picture."""
    picture().save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (120, 160)).save(tmp_path / "masks" / "a.png")
    found = survey.survey(tmp_path, progress=False)
    assert [one.mask for one in found.photographs] == [None]
    assert "120 x 160" in found.warnings[0] and "160 x 120" in found.warnings[0]
    Image.new("L", (160, 120)).save(tmp_path / "masks" / "a.png")
    assert survey.survey(tmp_path, progress=False).photographs[0].mask == tmp_path / "masks" / "a.png"


def test_the_folder_of_the_run_is_not_looked_into(tmp_path: Path) -> None:
    for place in ("a.png", "run/b.png", "other/c.png", ".hidden/d.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        picture(ord(place[-5])).save(tmp_path / place)
    found = survey.files(tmp_path, without=tmp_path / "x" / ".." / "run")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.png", "other/c.png"]
    assert len(survey.files(tmp_path)) == 3


def test_strips_and_very_many_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, size in enumerate([(160, 120), (120, 160), (400, survey.SMALLEST - 1)]):
        picture(index, size).save(tmp_path / f"{index}.png")
    found = survey.survey(tmp_path, progress=False)
    assert [one.name for one in found.photographs] == ["0.png", "1.png"]
    assert found.left_out == {"2.png": "400 x 63 pixels are too few"}
    monkeypatch.setattr(survey, "MOST", 2)
    with pytest.raises(SceneFormatError, match="3 pictures are more than 2"):
        survey.files(tmp_path)


def test_blur_is_told_by_detail_that_is_missing_whatever_is_shown() -> None:
    for seed in range(3):
        values = [
            quality.sharpness(np.asarray(picture(seed, (640, 480)).filter(ImageFilter.GaussianBlur(r)).convert("L")))
            for r in (0, 1, 2, 4)
        ]
        assert values == sorted(values, reverse=True)
    assert quality.blurred([1.0] * 10 + [0.3]) == [10]
    assert quality.blurred([1.0, 0.1, 1.0]) == []  # too few to know what is usual
    assert quality.blurred([1.0] * 10 + [0.3] * 8) == []  # so many are not the odd ones out


def test_noise_of_single_pixels_is_no_detail() -> None:
    generator = np.random.default_rng(0)
    sharp = np.kron(generator.integers(0, 255, (240, 320)), np.ones((2, 2))).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(4)))
    noisy = (blurred + generator.normal(size=sharp.shape) * 8).clip(0, 255).astype(np.uint8)
    assert quality.sharpness(noisy) < 0.2 * quality.sharpness(sharp)


def test_the_same_file_twice_is_one_photograph_whatever_is_asked(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    found = survey.survey(tmp_path, weed=False, progress=False)
    assert len(found.photographs) == 1 and found.left_out == {"b.jpg": "the same file as a.jpg"}


def test_one_picture_is_told_by_a_grey_level_and_a_half() -> None:
    """The third is like the second, which is gone, and not like the first."""
    generator = np.random.default_rng(0)
    first = generator.integers(40, 200, (32, 32)).astype(np.uint8)
    other = generator.integers(40, 200, (32, 32)).astype(np.uint8)
    near, far = other.copy(), other.copy()
    near.ravel()[::2] += 2  # 1.41 in the mean
    far.ravel()[: 32 * 32 * 2 // 3] += 2  # 1.63
    assert quality.duplicates(np.stack([first, other, near, far])) == [(2, 1)]
    assert quality.duplicates(np.stack([first, first + 1, first + 2])) == [(1, 0)]


def test_of_two_files_as_large_that_which_says_more_is_kept(tmp_path: Path) -> None:
    data = Image.Exif()
    data[272] = "Model"
    picture(1).save(tmp_path / "a.jpg", quality=95)
    picture(1).save(tmp_path / "b.jpg", quality=94, exif=data)
    assert [one.name for one in survey.survey(tmp_path, progress=False).photographs] == ["b.jpg"]


def test_the_blurred_ones_are_left_out_by_name(tmp_path: Path) -> None:
    for index in range(10):
        shot = picture(index, (320, 240))
        (shot.filter(ImageFilter.GaussianBlur(6)) if index in (2, 7) else shot).save(tmp_path / f"{index}.png")
    found = survey.survey(tmp_path, progress=False)
    assert set(found.left_out) == {"2.png", "7.png"}
    assert [one.name for one in found.photographs] == [f"{i}.png" for i in (0, 1, 3, 4, 5, 6, 8, 9)]


def test_the_better_of_two_files_of_one_picture_is_kept(tmp_path: Path) -> None:
    image = picture(1, (640, 480))
    image.resize((320, 240)).save(tmp_path / "a small.jpg")
    image.save(tmp_path / "large.jpg")
    picture(2, (640, 480)).save(tmp_path / "other.jpg")
    found = survey.survey(tmp_path, progress=False)
    assert [one.name for one in found.photographs] == ["large.jpg", "other.jpg"]
    assert found.left_out == {"a small.jpg": "the same picture as large.jpg"}
    assert len(survey.survey(tmp_path, weed=False, progress=False).photographs) == 3


def test_a_camera_is_shared_by_make_model_zoom_and_size(tmp_path: Path) -> None:
    for index, (model, focal) in enumerate([("A", 4.5), ("A", 4.5), ("A", 9.0), ("B", 4.5)]):
        data = Image.Exif()
        data[272] = model
        data.get_ifd(0x8769).update({37386: focal, 41989: 28})
        picture(index).save(tmp_path / f"{index}.jpg", exif=data)
    photographs = survey.survey(tmp_path, progress=False).photographs
    assert cameras_of(photographs)[0] == [0, 0, 1, 2]
    assert cameras_of(photographs, "one")[0] == [0, 0, 0, 0]
    assert cameras_of(photographs, "each")[0] == [0, 1, 2, 3]
    assert cameras_of(photographs)[1][0] == pytest.approx(28 / math.hypot(36, 24) * 200)


def test_no_lens_spans_two_sizes_or_two_makers(tmp_path: Path) -> None:
    def shot(make: str, size: tuple[int, int], focal: float) -> survey.Photograph:
        return survey.Photograph(Path(), "", *size, exif.Exif(make=make, model="1", focal=focal), None, 1.0)

    some = [shot("A", (40, 30), 50), shot("A", (30, 40), 50), shot("B", (40, 30), 51), shot("B", (40, 30), 52),
            shot("B", (40, 30), 90)]  # fmt: skip
    assert cameras_of(some) == ([0, 1, 2, 2, 2], [50, 50, 52])
    assert cameras_of(some, "one")[0] == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_photographs_says_what_there_may_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "film.mp4").touch()
    with pytest.raises(SceneFormatError, match=r"no such folder|give its file: .*film\.mp4"):
        survey.survey(tmp_path / name, progress=False)


def test_names_that_no_file_format_can_hold_are_left_out(tmp_path: Path) -> None:
    for index, name in enumerate(["a b ü.png", "back\\slash.png", b"\xff\xfe.png".decode("utf-8", "surrogateescape")]):
        try:
            picture(index).save(tmp_path / name)
        except OSError:
            pytest.skip("this file system refuses such names itself")
    found = survey.survey(tmp_path, progress=False)
    assert [one.name for one in found.photographs] == ["a b ü.png"]
    assert len(found.left_out) == 2


def test_heic_photographs_are_read_where_the_extra_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    image = picture(3, (320, 240))
    heif.from_pillow(image).save(tmp_path / "a.heic", quality=95)
    decoded = photos.decode(tmp_path / "a.heic", "rgb")
    assert np.abs(decoded.astype(float) - np.asarray(image)).mean() < 6
    assert survey.survey(tmp_path, progress=False).photographs[0].width == 320


def test_photographs_of_a_mask_are_photographs(tmp_path: Path) -> None:
    """A name alone makes no mask where every picture has it; beside others the unclaimed one is named."""
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 255, (160, 240, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"mask_{i}.png")
    assert [one.name for one in survey.survey(tmp_path, weed=False, progress=False).photographs] == [
        "mask_0.png", "mask_1.png", "mask_2.png",
    ]  # fmt: skip
    Image.fromarray(rng.integers(0, 255, (160, 240, 3), dtype=np.uint8)).save(tmp_path / "other.png")
    beside = survey.survey(tmp_path, weed=False, progress=False)
    assert [one.name for one in beside.photographs] == ["other.png"]
    assert "named like a mask" in beside.left_out["mask_0.png"]
