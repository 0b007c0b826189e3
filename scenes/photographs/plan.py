"""What is to be done with the photographs of a survey: cameras, size, pairs, and how long it will take."""

import math
import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from neural.errors import BadOption
from neural.scenes.photographs import georeference
from neural.scenes.photographs.georeference import Origin
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.sfm import pairs
from neural.scenes.photographs.sfm.pairs import Pairing
from neural.scenes.photographs.sfm.stages import Inputs
from neural.scenes.photographs.survey import Survey, cameras_of


@dataclass(frozen=True)
class Plan:
    """How cameras are to be found.

    Attributes:
        inputs: Of the stages.
        gps: Latitude, longitude, height per photograph; NaN where unknown.
        origin: Of the local frame; None without GPS.
        places: Metres east and north per photograph, NaN where unknown.
        pairing: Which photographs are compared.
    """

    inputs: Inputs
    gps: Float64[np.ndarray, "N 3"]
    origin: Origin | None
    places: list[tuple[float, float]]
    pairing: Pairing

    @property
    def seconds(self) -> float:
        """That features, matches and one mapping take, about; as measured on cores of a server at 2.6 GHz."""
        n = len(self.inputs.photographs)
        pixels = sum(width * height for width, height in map(self.inputs.size, range(n)))
        n_pairs = len(pairs.made(self.pairing, n, self.places))
        return 5 + (1.2e-6 * pixels + 0.15 * n_pairs) / (os.cpu_count() or 1) + 0.3 * n


def planned(survey: Survey, settings: CameraSettings, *, video: bool) -> Plan:
    """The plan for the photographs of a survey.

    Args:
        survey: The photographs.
        settings: What was asked for.
        video: Whether they are frames of one, in order.

    Raises:
        BadOption: Neighbours by GPS where there is none.
    """
    photographs = survey.photographs
    own, focals = cameras_of(photographs, settings.share)
    inputs = Inputs(photographs, own, focals, settings.side(len(photographs)))
    gps = np.array([one.exif.gps or (math.nan,) * 3 for one in photographs])
    known = np.isfinite(gps[:, :2]).all(axis=1)
    origin = georeference.origin_of(gps[known]) if known.any() else None
    places = np.full((len(photographs), 2), np.nan)
    if origin is not None:
        places[known] = origin.enu(gps[known])[:, :2]
    pairing = settings.matching
    if pairing == "spatial" and not known.any():
        raise BadOption("--matching spatial: no photograph says in its EXIF where it was taken; choose sequential")
    if pairing == "auto":
        pairing = pairs.choose(len(photographs), video=video, placed=int(known.sum()) if settings.gps else 0)
    return Plan(inputs, gps, origin, [(float(x), float(y)) for x, y in places], pairing)
