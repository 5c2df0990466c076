"""The list of clips: ``clips.jsonl``, one JSON record a line, the first one saying what the file is.

Torch-free and numpy-free. Paths are relative to the manifest's folder for files inside it, so that the folder can be
moved or mounted elsewhere; files outside are named by their absolute path.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from soracli import __version__
from soracli.core.errors import DataError
from soracli.core.files import sha256_file, write_text_atomic
from soracli.data.video_info import Kind

FORMAT: Final = "sora-clips"
VERSION: Final = 1
MADE_BY: Final = f"sora-trainer {__version__}"

Split = Literal["train", "validation"]

_OPTIONAL: Final[Mapping[str, Any]] = {"original_caption": "", "caption_confidence": 0.0}
"""Keys that older manifests do not have and what they are there; not written where they are that."""

_LARGEST: Final[Mapping[str, int]] = {
    **{"num_frames": 2**31, "height": 2**20, "width": 2**20},
    **{"fps": 1_000_000, "seconds": 10**9, "start": 10**9},
}
"""No clip is beyond these; they keep what is computed from them within what numbers hold."""

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One training excerpt of one file.

    Attributes:
        path: The file, relative to the manifest's folder or absolute; written with forward slashes.
        start: Seconds after the file's first frame where the excerpt begins.
        num_frames: Frames of the excerpt at ``fps``.
        fps: Frames a second at which the excerpt is read.
        height: Height of the file's frames, upright, in pixels.
        width: Width of the file's frames in pixels.
        seconds: Length, ``num_frames / fps``.
        caption: Text of the excerpt, "" when there is none.
        sha256: Hash of the file's bytes, 64 hex digits.
        clip_id: Hash of the content: of the file's bytes and of which frames are taken, see ``clip_id_of``.
        kind: ``video``, ``animation`` or ``image``.
        split: ``train`` or ``validation``.
        original_name: The file's name when it was indexed, without folders.
        original_caption: The text it came with, where ``caption`` was written by a model; "" and not in the file
            where that is the caption itself.
        caption_confidence: How sure the model that wrote ``caption`` was of it, in (0, 1]; 0 and not in the file where
            none wrote it, or it does not say.
    """

    path: str
    start: float
    num_frames: int
    fps: float
    height: int
    width: int
    seconds: float
    caption: str
    sha256: str
    clip_id: str
    kind: Kind
    split: Split
    original_name: str
    original_caption: str = ""
    caption_confidence: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A read manifest.

    Attributes:
        path: The manifest file.
        clips: Its clips in file order.
        options: How it was made.
        made_by: What made it.
    """

    path: Path
    clips: tuple[Clip, ...]
    options: Mapping[str, Any]
    made_by: str

    def locate(self, clip: Clip) -> Path:
        """The file of a clip; relative paths start at the manifest's folder and stay inside it.

        Raises:
            DataError: If a link leads a relative path out of the folder.
        """
        folder = self.path.parent
        path = folder / clip.path
        if not Path(clip.path).is_absolute() and not _is_inside(path, folder):
            raise DataError(f"{path}: a link leads it out of the manifest's folder; name it absolutely to allow that")
        return path


def clip_id_of(sha256: str, start: float, num_frames: int, fps: float) -> str:
    """Content hash of an excerpt: 32 hex digits that change when the file's bytes or the chosen frames do.

    The start counts in microseconds and the rate in millionths, so equal excerpts get equal names however computed.
    """
    text = f"{sha256}:{round(start * 1e6)}:{num_frames}:{round(fps * 1e6)}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def path_in_manifest(file: Path, folder: Path) -> str:
    """How a manifest in ``folder`` names a file: relative when it is inside, also behind all links, else absolute."""
    try:
        inside = file.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return file.absolute().as_posix()
    return inside if _is_inside(file, folder) else file.absolute().as_posix()


def _is_inside(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # no path at all, or links in a circle: opening it will say what is wrong
        return True


def write_manifest(path: Path, clips: Sequence[Clip], options: Mapping[str, Any]) -> None:
    """Write a manifest so that it is whole or the old one.

    Args:
        path: The file, by habit ``clips.jsonl``.
        clips: In the order they are to have.
        options: How it was made; plain JSON values.

    Raises:
        MachineError: If the disk is full or the folder cannot be written.
    """
    header = {"format": FORMAT, "version": VERSION, "made_by": MADE_BY, "options": dict(options)}
    records = [header, *map(_record_of, clips)]
    lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records]
    write_text_atomic(path, "\n".join(lines) + "\n")


def _record_of(clip: Clip) -> dict[str, Any]:
    record = asdict(clip)
    return {name: value for name, value in record.items() if value or name not in _OPTIONAL}


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        DataError: If it is missing, no manifest, of a newer version, has no clips, or a line is wrong; it is named.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a manifest; make one: sora clips index {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such manifest; make it: sora clips index FOLDER --out {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no manifest: not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    # Only \n ends a line: captions may hold the other characters that splitlines takes for line ends.
    lines = text.split("\n")
    header = _read_header(path, lines[0])
    clips = [_read_clip(path, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not clips:
        raise DataError(f"{path}: has no clips; make it again: sora clips index FOLDER --out {path}")
    return Manifest(path=path, clips=tuple(clips), options=header["options"], made_by=str(header.get("made_by", "?")))


def clips_content(path: Path | None) -> dict[str, dict[str, Any]]:
    """What a run remembers of the clips it learns from, so that it does not go on with others; empty without any.

    Args:
        path: The manifest.

    Raises:
        DataError: If it cannot be read.
    """
    if path is None:
        return {}
    count = len(read_manifest(path).clips)
    return {"clips_content": {"count": count, "sha256": sha256_file(path)}}


def _read_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "cannot be read"
        raise DataError(f"{path}:{number}: is not JSON: {what}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}:{number}: must be a JSON object, got {type(record).__name__}")
    return record


def _read_header(path: Path, line: str) -> dict[str, Any]:
    again = "make it again: sora clips index FOLDER"
    if not line.strip():
        raise DataError(f"{path}:1: is empty, no manifest; {again}")
    header = _read_object(path, 1, line)
    if header.get("format") != FORMAT:
        raise DataError(f'{path}:1: is no manifest: the first line must say "format": "{FORMAT}"; {again}')
    version = header.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataError(f"{path}:1: version must be a whole number from 1 on, got {version!r}; {again}")
    if version > VERSION:
        raise DataError(
            f"{path}:1: version {version} is newer than this program reads ({VERSION}); "
            f"made by {header.get('made_by')}; upgrade sora-trainer"
        )
    if not isinstance(header.get("options"), dict):
        raise DataError(f"{path}:1: options must be an object, got {header.get('options')!r}; {again}")
    return header


def _read_clip(path: Path, number: int, line: str) -> Clip:
    record = _read_object(path, number, line)
    where = f"{path}:{number}"
    names = [field.name for field in fields(Clip)]
    for name in record:
        if name not in names:
            raise DataError(f"{where}: unknown key {name!r}; the keys are {', '.join(names)}")
    record = {**_OPTIONAL, **record}
    for name in names:
        if name not in record:
            raise DataError(f"{where}: {name!r} is missing")
    for name, kind in get_type_hints(Clip).items():
        _check_value(where, name, kind, record[name])
    for name in ("num_frames", "height", "width", "fps", "seconds"):
        if record[name] <= 0:
            raise DataError(f"{where}: {name!r} must be above 0, got {record[name]}")
    for name, largest in _LARGEST.items():
        if record[name] > largest:
            raise DataError(f"{where}: {name!r} must be at most {largest}, got {record[name]!r:.40}")
    if not 0 <= record["caption_confidence"] <= 1:
        raise DataError(f"{where}: 'caption_confidence' must be 0 to 1, got {record['caption_confidence']}")
    if record["start"] < 0:
        raise DataError(f"{where}: 'start' must not be below 0, got {record['start']}")
    if "\0" in record["path"] or not record["path"]:
        raise DataError(f"{where}: 'path' is no file name: {record['path']!r}")
    if ".." in Path(record["path"]).parts:
        raise DataError(f"{where}: 'path' leads out of the manifest's folder: {record['path']!r}; name it absolutely")
    values: dict[str, Any] = {
        **record,
        **{name: float(record[name]) for name in ("start", "fps", "seconds", "caption_confidence")},
    }
    return Clip(**values)


def _check_value(where: str, name: str, kind: Any, value: Any) -> None:
    if get_args(kind):
        if value not in get_args(kind):
            raise DataError(f"{where}: {name!r} must be one of {', '.join(get_args(kind))}, got {value!r}")
    elif kind is float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not _is_finite(value):
            raise DataError(f"{where}: {name!r} must be a finite number, got {value!r}")
    elif not isinstance(value, kind) or isinstance(value, bool):
        wanted = {int: "a whole number", str: "text"}[kind]
        raise DataError(f"{where}: {name!r} must be {wanted}, got {value!r}")
    elif isinstance(value, str) and _SURROGATE.search(value):
        raise DataError(f"{where}: {name!r} holds half of a surrogate pair, which is no text")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floating-point ones
        return False
