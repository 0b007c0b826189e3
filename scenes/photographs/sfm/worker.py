"""Structure from motion in a process of its own: `python -m neural.scenes.photographs.sfm.worker JOB.json`.

pycolmap can end the interpreter that calls it (a failed check in C++ aborts), so nothing else runs in this one. A job
is one stage: `extract`, `match` or `map`. What it has to say goes to standard output as one JSON object a line:
progress `{"done": 3, "of": 30}`, at the end `{"result": ...}`. Standard input is only watched: when the process that
started this one is gone, its end closes, and this one goes too, with its children.

Photographs have numbers here, never names: a database then knows nothing of spaces, folders or Unicode.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from neural import atomic
from neural.scenes import photos
from neural.scenes.photographs.sfm import database

BATCH_SECONDS = 4.0  # of matching between two lines of progress, about


def main(job: Mapping[str, Any]) -> None:
    stage = {"extract": _extract, "match": _match, "map": _map}[job["stage"]]
    _say(result=stage(job))


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def _extract(job: Mapping[str, Any]) -> dict[str, Any]:
    """Features of every photograph, each in a file of its own; one that cannot be read is a sentence in the result."""
    left, failed = job["photographs"], {}
    n = max(1, min(job["threads"], len(left)))
    with ProcessPoolExecutor(n, get_context("spawn"), initializer=_quiet) as pool:
        tasks = {pool.submit(features_of, one, job["settings"]): one["index"] for one in left}
        for done, task in enumerate(as_completed(tasks), 1):
            problem = task.result()
            if problem is not None:
                failed[str(tasks[task])] = problem
            _say(done=done, of=len(left))
    return {"failed": failed}


def features_of(photograph: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """SIFT of one photograph, to a file: places (x, y, scale, angle) in the reduced picture, descriptors, colours.

    Returns:
        What is wrong with the photograph; None if nothing is.
    """
    import pycolmap
    from PIL import Image

    from neural.errors import SceneFormatError

    try:
        pixels = photos.decode(Path(photograph["file"]), "rgb")
        mask = photos.decode(Path(photograph["mask"]), "mask")[..., 0] if photograph["mask"] else None
    except SceneFormatError as error:
        return error.reason
    size = tuple(photograph["size"])
    image = Image.fromarray(pixels)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=None)
    options = pycolmap.FeatureExtractionOptions(num_threads=1, use_gpu=False)
    options.sift.mergedict(dict(settings["sift"]))
    extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    found, described = extractor.extract_from_uint8_array(np.asarray(image.convert("L")))
    places = pycolmap.keypoints_to_matrix(found)
    columns = np.clip(places[:, 0].astype(np.int64), 0, size[0] - 1)
    rows = np.clip(places[:, 1].astype(np.int64), 0, size[1] - 1)
    keep = np.ones(len(places), dtype=bool)
    if mask is not None:
        height, width = mask.shape
        keep = mask[rows * height // size[1], columns * width // size[0]] >= 128
    with atomic.replacing(photograph["features"]) as file:
        np.savez(
            file,
            places=places[keep].astype(np.float32),
            descriptors=np.asarray(described.data)[keep].astype(np.uint8),
            rgb=np.asarray(image)[rows, columns][keep],
        )
    return None


def _match(job: Mapping[str, Any]) -> dict[str, Any]:
    """Matches of the pairs asked for, checked by the geometry of two views; what the database has is not done again."""
    import pycolmap

    path = Path(job["database"])
    if not path.exists():
        database.build(path, job["photographs"], job["cameras"])
    pairs = job["pairs"]
    listed = path.with_suffix(".pairs")
    options = pycolmap.FeatureMatchingOptions(num_threads=job["threads"], use_gpu=False)
    options.sift.mergedict(dict(job["settings"]["matching"]))
    done, batch = 0, 36
    while done < len(pairs):
        began = time.perf_counter()
        chosen = pairs[done : done + batch]
        lines = "".join(f"{database.name_of(a)} {database.name_of(b)}\n" for a, b in chosen)
        listed.write_text(lines, encoding="ascii")
        pycolmap.match_image_pairs(
            path,
            matching_options=options,
            pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed),
            device=pycolmap.Device.cpu,
        )
        done += len(chosen)
        _say(done=done, of=len(pairs))
        pace = (time.perf_counter() - began) / len(chosen)
        batch = int(min(max(BATCH_SECONDS / max(pace, 1e-6), 24), 2 * batch))
    listed.unlink(missing_ok=True)
    return {"partners": database.partners(path)}


def _map(job: Mapping[str, Any]) -> dict[str, Any]:
    """Cameras and points from the matches; the largest model of all is written to a file."""
    import pycolmap

    path, out = Path(job["database"]), Path(job["models"])
    out.mkdir(parents=True, exist_ok=True)
    settings = job["settings"]
    if job["kind"] == "global":
        options: Any = pycolmap.GlobalPipelineOptions(num_threads=job["threads"], random_seed=0)
        options.mergedict({"min_num_matches": settings["min_matches"]})
        models = pycolmap.global_mapping(path, out, out, options)
    else:
        options = pycolmap.IncrementalPipelineOptions(num_threads=job["threads"], random_seed=0, extract_colors=False)
        options.mergedict({"min_num_matches": settings["min_matches"], "min_model_size": 3})
        options.mapper.mergedict(dict(settings["mapper"]))
        registered = [0]

        def one_more() -> None:
            registered[0] += 1
            _say(done=min(registered[0], job["of"]), of=job["of"])

        models = pycolmap.incremental_mapping(
            path, out, out, options, initial_image_pair_callback=one_more, next_image_callback=one_more
        )
    sizes = sorted((model.num_reg_images() for model in models.values()), reverse=True)
    if models:
        largest = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
        database.write_model(Path(job["result"]), largest)
    return {"models": sizes}


def _quiet() -> None:
    """Children of the pool leave Ctrl-C to their parent; what C++ logs is wanted for errors only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):
        import pycolmap

        pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value


def _leave_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _quiet()
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
