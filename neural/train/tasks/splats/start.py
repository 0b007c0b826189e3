"""Gaussians to start from in a file: a Gaussian scene, a point cloud or a mesh, in the frame of the capture's files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.errors import SceneFormatError
from neural.gaussians.model import Gaussians
from neural.gaussians.similarity import transformed
from neural.gaussians.surface import sample
from neural.scenes.capture import Points
from neural.scenes.files import mesh, ply
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.axes import flipped
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord
from neural.scenes.files.mesh import Mesh
from neural.scenes.scene import Scene
from neural.train.tasks.splats.config import SplatModelConfig, StartKind

_SUREST_LOGIT = 10.0  # of what is trained on: opacities nearer to 0 or 1 have no gradient to follow
_FARTHEST = 1e12  # scene units


@dataclass(frozen=True)
class Start:
    """What a file holds to start from.

    Attributes:
        path: The file.
        content: In the frame of the file.
    """

    path: Path
    content: SplatRecord | Points | Mesh

    @property
    def kind(self) -> StartKind:
        """Of the content."""
        if isinstance(self.content, SplatRecord):
            return "splats"
        return "cloud" if isinstance(self.content, Points) else "mesh"

    @property
    def count(self) -> int:
        """Gaussians or points; of a mesh 0, on which there is room for any number."""
        return 0 if isinstance(self.content, Mesh) else len(self.content)

    @property
    def antialiased(self) -> bool:
        """Whether it is a Gaussian scene that must be rendered so."""
        return isinstance(self.content, SplatRecord) and self.content.antialiased


def read(path: Path) -> Start:
    """Opens a Gaussian scene of any format, a `.ply` of points, or a `.ply` or `.obj` of triangles.

    Raises:
        SceneFormatError: None of these, damaged, empty, or with a value that is not finite.
    """
    if path.suffix.lower() == ".obj":
        return Start(path, mesh.read(path))
    if formats.holds_gaussians(path):
        return Start(path, formats.read(path))
    if ply.read_layout(path).get("face", (0, ()))[0]:
        return Start(path, mesh.read(path))
    points = Points(*ply.read_points(path))
    strange = ~np.isfinite(points.xyz).all(1)
    if strange.any():
        row = int(strange.argmax())
        place = points.xyz[row].tolist()
        raise SceneFormatError(path, f"point {row} is at {place} ({strange.sum()} such); remove them")
    if not points.apart:
        raise SceneFormatError(
            path, f"has {len(points)} points in one place, expected two places or more to start from"
        )
    return Start(path, points)


def gaussians(
    start: Start, scene: Scene, origin: Float[Tensor, "3"], model: SplatModelConfig, generator: torch.Generator
) -> Gaussians:
    """The Gaussians of the first step, in the scene's frame relative to `origin`.

    Args:
        start: What to start from.
        scene: Whose `world_to_scene` takes the file's frame to that of the training.
        origin: float64, subtracted from the scene's coordinates.
        model: Resolved; `init_gaussians` is how many there are at most.
        generator: Of what is left to chance.

    Raises:
        SceneFormatError: It lies too far away in the scene's frame for single precision.
    """
    to_scene = scene.world_to_scene.copy()
    to_scene[:3, 3] -= origin.numpy()
    most, opacity, scale = model.init_gaussians, model.init_opacity, model.init_scale
    assert most is not None and opacity is not None and scale is not None, "the configuration is not resolved"
    content = start.content
    if isinstance(content, SplatRecord):
        made = _fine_tuned(start.path, flipped(content, ("RDF", scene.axes)), to_scene, most, model.sh_degree)
    else:
        normals = None
        if isinstance(content, Mesh):
            found = sample(Mesh(_moved(content.vertices, to_scene), content.rgb, content.faces), most, generator)
            points, normals, rgb = found.points, found.normals, found.rgb
        else:
            chosen = drawn(len(content), most, generator)
            points = torch.from_numpy(_moved(content.xyz[chosen], to_scene))
            rgb = torch.from_numpy(content.rgb[chosen])
        _refuse_far(start.path, points)
        made = Gaussians.from_points(
            points.float(), rgb, sh_degree=model.sh_degree, opacity=opacity, scale=scale, normals=normals
        )
    made.antialiased = model.antialiased
    return made


def drawn(n: int, most: int, generator: torch.Generator) -> np.ndarray:
    """Ascending indices of all `n`, or of `most` of them by chance."""
    if n <= most:
        return np.arange(n)
    return np.sort(torch.randperm(n, generator=generator)[:most].numpy())


def _fine_tuned(path: Path, record: SplatRecord, to_scene: np.ndarray, most: int, degree: int) -> Gaussians:
    whole = Gaussians.from_record(record)
    if whole.n > most:
        whole = whole.taken(_most_visible(whole, most))
    try:
        made = transformed(whole, to_scene)
    except ValueError as error:
        raise SceneFormatError(path, f"cannot be taken to the frame of the scene: {error}") from None
    _refuse_far(path, made.means)
    known, wanted = made.shN.detach(), SH_COUNTS[degree]
    shN = known.new_zeros(made.n, wanted, 3)
    shN[:, : known.shape[1]] = known[:, :wanted]
    return Gaussians(
        made.means, torch.nn.functional.normalize(made.quats.detach().double(), dim=1), made.log_scales,
        made.opacity_logits.detach().clamp(-_SUREST_LOGIT, _SUREST_LOGIT), made.sh0, shN,
    )  # fmt: skip


def _most_visible(gaussians: Gaussians, most: int) -> Tensor:
    """Ascending rows of the `most` whose opacity times largest cross-section is greatest."""
    scales = gaussians.log_scales.detach().double()
    weight = scales.sum(1) - scales.amin(1) + torch.nn.functional.logsigmoid(gaussians.opacity_logits.detach().double())
    return weight.argsort(descending=True, stable=True)[:most].sort().values


def _moved(points: Float64[np.ndarray, "N 3"], to_scene: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "N 3"]:
    return points @ to_scene[:3, :3].T + to_scene[:3, 3]


def _refuse_far(path: Path, points: Tensor) -> None:
    farthest = float(points.detach().abs().max())
    if not farthest < _FARTHEST:
        raise SceneFormatError(
            path, f"reaches {farthest:g} scene units from the scene's box; is it of another capture?"
        )
