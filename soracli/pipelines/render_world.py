"""``sora world render``: scenes of the built-in world as clips with captions and the exact truth over time.

Every scene N is three files: ``NNNN.mp4`` (or .png), ``NNNN.txt`` with its caption, and ``NNNN.json`` with where
everything is in every frame. ``metadata.jsonl`` lists them, so the folder can be indexed as it is. ``world.json`` keeps
what the folder was made with: the same command again renders only what is missing.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from soracli import __version__
from soracli.core.errors import DataError, Stopped, UsageError
from soracli.core.files import machine_error, write_json_atomic, write_text_atomic
from soracli.core.json_text import parse_json
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.image_write import write_contact_sheet
from soracli.data.video_write import VideoWriter
from soracli.data.world.camera import FIELD, camera_path
from soracli.data.world.captions import Style, caption_scene, facts
from soracli.data.world.grammar import Scene, Split, sample_scene
from soracli.data.world.physics import Trajectory, simulate
from soracli.data.world.render import render_scene
from soracli.training.device import choose_device
from soracli.training.signals import StopFlag, stop_on_signals

FORMAT: Final = "sora world"
OPTIONS_NAME: Final = "world.json"
METADATA_NAME: Final = "metadata.jsonl"
SHEET_ROWS: Final = 16
"""Most scenes on a contact sheet; one row each."""

_SHEET_COLUMNS = 8
_PIXELS_AT_ONCE = 1 << 20
_SCENES_AT_ONCE = 32
_DIGITS = 6
"""Digits behind the point in .json files: a millionth of a unit, about what float32 holds."""


@dataclass(frozen=True, kw_only=True)
class WorldOptions:
    """What the clips of a folder are; the same options and index always give the same scene and caption.

    Attributes:
        seed: Which world.
        split: Which combinations of attributes may be shown.
        images: Pictures of the first frame instead of videos.
        seconds: Length; without meaning for images.
        fps: Frames a second; without meaning for images.
        height: Pixels.
        width: Pixels.
        num_objects: 1 to 3; None draws it for each scene.
        caption: What the .txt files hold; "both" is a short one for half of the scenes and a long one for the others.
    """

    seed: int = 0
    split: Split = "train"
    images: bool = False
    seconds: float = 4.0
    fps: float = 12.0
    height: int = 128
    width: int = 128
    num_objects: int | None = None
    caption: Literal["short", "long", "both"] = "both"

    @property
    def num_frames(self) -> int:
        """Frames of each clip, at least one."""
        return 1 if self.images else max(1, round(self.seconds * self.fps))

    @property
    def suffix(self) -> str:
        """Suffix of the clips."""
        return ".png" if self.images else ".mp4"

    def scene(self, index: int) -> Scene:
        """Scene ``index``."""
        return sample_scene(self.seed, index, split=self.split, num_objects=self.num_objects)

    def times(self) -> Tensor:
        """``(T,)`` seconds of the frames."""
        return torch.arange(self.num_frames) / self.fps


@dataclass(frozen=True, kw_only=True)
class WorldSummary:
    """What a rendering left.

    Attributes:
        folder: Where the clips are.
        metadata: The list of all clips in the folder.
        rendered: Scenes rendered now.
        kept: Scenes asked for that were there already.
        num_frames: Frames of each clip.
        contact_sheet: The picture of the scenes, beside the folder so that it is not taken for a clip; None if not
            asked for.
    """

    folder: Path
    metadata: Path
    rendered: tuple[int, ...]
    kept: tuple[int, ...]
    num_frames: int
    contact_sheet: Path | None


def missing_scenes(
    folder: Path, options: WorldOptions, indexes: Sequence[int], *, overwrite: bool = False
) -> list[int]:
    """Which of the scenes are to be rendered; changes nothing.

    Raises:
        UsageError: If the folder is a file, was rendered with other options, or holds files of other origin under the
            names that would be written, and ``overwrite`` is not set.
        DataError: If its options file is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; name a folder")
    if overwrite:
        return list(indexes)
    old = _read_options(folder / OPTIONS_NAME)
    if old is None:
        for path in (folder / METADATA_NAME, *(path for index in indexes for path in _files(folder, index, options))):
            if path.exists():
                raise UsageError(f"{path} exists and is not of this command; name another --out, or give --overwrite")
        return list(indexes)
    new = asdict(options)
    changed = [f"{name} {old.get(name)} not {new[name]}" for name in new if old.get(name) != new[name]]
    if changed:
        raise UsageError(
            f"{folder} was rendered with {', '.join(changed)}; name another --out, or render it anew: --overwrite"
        )
    return [index for index in indexes if not all(path.is_file() for path in _files(folder, index, options))]


def render_world(
    folder: Path,
    options: WorldOptions,
    *,
    count: int,
    start: int = 0,
    device: str = "auto",
    contact_sheet: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> WorldSummary:
    """Render scenes ``start`` to ``start + count - 1`` into a folder; those that are there whole are kept.

    Args:
        folder: Made if missing; several calls with the same options may fill it piece by piece.
        options: What the clips are.
        count: How many scenes.
        start: The first.
        device: Where to draw.
        contact_sheet: Also write a picture of the first ``SHEET_ROWS`` of the scenes beside the folder.
        overwrite: Render all of them anew; clips that were made with other options are removed.
        reporter: Where progress goes.

    Raises:
        UsageError: As ``missing_scenes``, or on an unknown device.
        MachineError: If the device is missing or the disk full.
        Stopped: On SIGINT, SIGTERM or SIGUSR1; the clips so far are whole and the same call goes on.
    """
    folder, reporter = Path(folder), reporter or SilentReporter()
    indexes = range(start, start + count)
    chosen = choose_device(device)
    missing = missing_scenes(folder, options, indexes, overwrite=overwrite)
    if overwrite:
        _remove_others(folder, options)
    write_json_atomic(
        folder / OPTIONS_NAME, {"format": FORMAT, "version": 1, "made_by": _made_by(), "options": asdict(options)}
    )
    with stop_on_signals() as stop:
        if missing:
            with reporter.task("rendering", len(missing) * options.num_frames, "frames") as task:
                for first in range(0, len(missing), _SCENES_AT_ONCE):
                    for scene, path in _simulated(options, missing[first : first + _SCENES_AT_ONCE]):
                        _render_one(folder, options, scene, path, chosen, task.advance, stop)
        _write_metadata(folder, options)
        sheet = _sheet(folder, options, indexes, chosen) if contact_sheet else None
    return WorldSummary(
        folder=folder,
        metadata=folder / METADATA_NAME,
        rendered=tuple(missing),
        kept=tuple(sorted(set(indexes) - set(missing))),
        num_frames=options.num_frames,
        contact_sheet=sheet,
    )


def _simulated(options: WorldOptions, indexes: Sequence[int]) -> list[tuple[Scene, Trajectory]]:
    """Scenes and what each does; computed together, which is many times faster and gives the same numbers."""
    scenes = [options.scene(index) for index in indexes]
    path = simulate(scenes, options.times())
    return [
        (
            scene,
            replace(
                path,
                position=path.position[row : row + 1, :, : len(scene.objects)],
                velocity=path.velocity[row : row + 1, :, : len(scene.objects)],
                contact=path.contact[row : row + 1],
            ),
        )
        for row, scene in enumerate(scenes)
    ]


def _render_one(
    folder: Path,
    options: WorldOptions,
    scene: Scene,
    path: Trajectory,
    device: torch.device,
    advance: Callable[[int], None],
    stop: StopFlag,
) -> None:
    clip, text, truth = _files(folder, scene.index, options)
    # The truth is written last: where it is, the clip and its caption are of the same making.
    truth.unlink(missing_ok=True)
    times = path.times
    words = _captions(options, scene, contact=bool(path.contact[0, -1] > 0))
    about = {"made_by": _made_by(), "caption": words["chosen"], "index": scene.index, **asdict(options)}
    at_once = max(1, _PIXELS_AT_ONCE // (options.height * options.width))
    # One thread, so that the file is the same to the byte on every machine with this encoder.
    with VideoWriter(clip, fps=options.fps, metadata=about, overwrite=True, threads=1) as writer:
        for first in range(0, options.num_frames, at_once):
            if stop:
                raise Stopped(f"scene {scene.index} of {folder} was not finished; the same command goes on")
            part = slice(first, first + at_once)
            position = path.position[0, part].to(device)
            drawn = render_scene(scene, position, times[part].to(device), options.height, options.width)
            writer.write(drawn.frames.cpu().numpy())
            advance(len(position))
    write_text_atomic(text, words["chosen"] + "\n")
    values = _truth(options, scene, path) | {"file_name": clip.name, "caption": words.pop("chosen")}
    write_text_atomic(truth, json.dumps(values | {"captions": words}, allow_nan=False) + "\n")


def _captions(options: WorldOptions, scene: Scene, *, contact: bool) -> dict[str, str]:
    """A short and a long caption, and the ``chosen`` one."""
    rng = random.Random(f"sora captions {options.seed} {scene.index} {options.split} {options.num_objects}")
    styles: tuple[Style, ...] = ("short", "long")
    made: dict[str, str] = {
        style: caption_scene(scene, style=style, moving=not options.images, rng=rng, contact=contact)
        for style in styles
    }
    style = rng.choice(styles) if options.caption == "both" else options.caption
    return {"chosen": made[style], **made}


def _truth(options: WorldOptions, scene: Scene, path: Trajectory) -> dict[str, Any]:
    """The exact state of a scene over time; axes and units are those of ``soracli.data.world.grammar``."""
    camera = camera_path(scene, path.times)
    return {
        "format": f"{FORMAT} scene",
        "version": 1,
        "index": scene.index,
        "facts": facts(scene),
        "scene": asdict(scene),
        "height": options.height,
        "width": options.width,
        "fps": None if options.images else options.fps,
        "times": _numbers(path.times),
        "positions": _numbers(path.position[0]),
        "velocities": _numbers(path.velocity[0]),
        "contacts": path.contact[0].tolist(),
        "camera": {
            "tangent_of_half_view": FIELD,
            "origin": _numbers(camera.origin),
            "right": _numbers(camera.right),
            "up": _numbers(camera.up),
            "forward": _numbers(camera.forward),
        },
    }


def _numbers(values: Tensor) -> Any:
    return values.double().mul(10**_DIGITS).round().div(10**_DIGITS).tolist()


def _files(folder: Path, index: int, options: WorldOptions) -> tuple[Path, Path, Path]:
    """Clip, caption and truth of one scene."""
    name = f"{index:04d}"
    return folder / f"{name}{options.suffix}", folder / f"{name}.txt", folder / f"{name}.json"


def _read_options(path: Path) -> dict[str, Any] | None:
    """The options a folder was made with; None if it is not of this command."""
    if not path.exists():
        return None
    values = _read_json(path)
    if values.get("format") != FORMAT or not isinstance(values.get("options"), dict):
        raise DataError(f"{path}: is no options file of sora world; name another --out, or give --overwrite")
    return dict(values["options"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(path.read_text("utf-8"))
    except OSError as error:
        raise machine_error(error, path, "cannot read") from error
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise DataError(f"{path}: is damaged; delete it and run the same command again")
    return values


def _scene_files(folder: Path) -> list[Path]:
    """The .json of every finished scene in a folder, in order."""
    found = [path for path in folder.glob("*.json") if re.fullmatch(r"\d{4,}", path.stem)]
    return sorted(found, key=lambda path: int(path.stem))


def _remove_others(folder: Path, options: WorldOptions) -> None:
    """Remove what was rendered with other options, so that a folder never mixes two worlds."""
    try:
        same = _read_options(folder / OPTIONS_NAME) == asdict(options)
    except DataError:
        same = False
    for path in [] if same else _scene_files(folder):
        if _read_json(path).get("format") == f"{FORMAT} scene":
            for suffix in (".mp4", ".png", ".txt", ".json"):
                path.with_suffix(suffix).unlink(missing_ok=True)


def _write_metadata(folder: Path, options: WorldOptions) -> None:
    """List every finished scene; held-out ones are for validation."""
    lines = []
    for path in _scene_files(folder):
        values = _read_json(path)
        if values.get("format") == f"{FORMAT} scene" and path.with_suffix(options.suffix).is_file():
            split = "validation" if values["facts"]["held_out"] else "train"
            record = {"file_name": values["file_name"], "caption": values["caption"], "split": split}
            lines.append(json.dumps(record | {"captions": values["captions"], "facts": values["facts"]}))
    write_text_atomic(folder / METADATA_NAME, "\n".join(lines) + "\n")


def _sheet(folder: Path, options: WorldOptions, indexes: Sequence[int], device: torch.device) -> Path:
    rows = []
    chosen = torch.linspace(0, options.num_frames - 1, min(options.num_frames, _SHEET_COLUMNS)).round().long()
    for scene, path in _simulated(options, indexes[:SHEET_ROWS]):
        position, times = path.position[0, chosen].to(device), path.times[chosen].to(device)
        drawn = render_scene(scene, position, times, options.height, options.width)
        caption = _read_json(_files(folder, scene.index, options)[2])["caption"]
        rows.append((f"{scene.index:04d}  {caption}", drawn.frames.cpu().numpy()))
    place = folder.resolve()
    sheet = place.with_name(f"{place.name}-contact-sheet.png")
    write_contact_sheet(sheet, rows, columns=_SHEET_COLUMNS, cell_height=min(options.height, 256))
    return sheet


def _made_by() -> str:
    return f"sora-trainer {__version__}"
