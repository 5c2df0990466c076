"""``sora clips index``: a folder of videos, animations and pictures becomes a manifest of captioned clips.

Nothing that is wrong with one file stops the others: broken files are left out and named at the end with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from soracli.core.errors import DataError, UsageError
from soracli.core.files import sha256_file
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.captions import METADATA_NAMES, Caption, CaptionTable, read_caption_file, read_metadata
from soracli.data.clip_files import FoundFiles, find_clip_files
from soracli.data.ffmpeg import DEFAULT_TIMEOUT
from soracli.data.manifest import (
    MADE_BY,
    Clip,
    clip_id_of,
    path_in_manifest,
    read_manifest,
    write_manifest,
)
from soracli.data.video_info import VideoInfo
from soracli.data.video_probe import probe_video
from soracli.pipelines.file_workers import map_files


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How files become clips.

    Attributes:
        excerpt: Seconds of an excerpt that longer files are cut into; None takes every file whole.
        min_excerpt: Seconds; a shorter rest at the end of a file joins the excerpt before it, a longer one becomes an
            excerpt of its own. None is half of ``excerpt``.
        fps: Rate at which clips are to be read; slower files and pictures keep their own. None keeps every file's own.
        keep_damaged: Take what can be decoded of damaged or cut files instead of leaving them out.
        timeout: Seconds without output after which a file's decoder is stopped.
    """

    excerpt: float | None = None
    min_excerpt: float | None = None
    fps: float | None = None
    keep_damaged: bool = False
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        if self.min_excerpt is not None and (self.excerpt is None or self.min_excerpt > self.excerpt):
            whole = "no --excerpt" if self.excerpt is None else f"--excerpt {self.excerpt:g}s"
            raise UsageError(f"--min-excerpt {self.min_excerpt:g}s needs an --excerpt at least as long, got {whole}")


@dataclass(frozen=True, kw_only=True)
class IndexSummary:
    """What an index holds.

    Attributes:
        manifest: The manifest file.
        num_files: Files that gave clips.
        num_clips: Clips, pictures among them.
        num_images: Pictures.
        num_validation: Clips of the validation split.
        seconds: Length of all moving clips together.
        sizes: Clips by ``(height, width)``, the most frequent first.
        captions_missing: Clips without a caption.
        duplicates: Files whose bytes equal those of an earlier one; they are kept.
        reused: Files taken over from the manifest that was there, because their bytes are the same.
        ignored: Files whose suffix is none of a clip.
        problems: Name and reason of every file that was left out.
        remarks: Name and remark of what was kept but is not as it should be.
    """

    manifest: Path
    num_files: int
    num_clips: int
    num_images: int
    num_validation: int
    seconds: float
    sizes: Mapping[tuple[int, int], int]
    captions_missing: int
    duplicates: int
    reused: int
    ignored: int
    problems: tuple[tuple[str, str], ...]
    remarks: tuple[tuple[str, str], ...]


def index_clips(
    folder: Path,
    out: Path | None = None,
    options: IndexOptions | None = None,
    *,
    workers: int = 1,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> IndexSummary:
    """Make or renew the manifest of a folder.

    Every file is hashed; those that the manifest already has with the same bytes and options are not decoded again,
    only their captions are read anew.

    Args:
        folder: Walked with everything below it in sorted order; links that lead out of it are not followed.
        out: The manifest; None is ``clips.jsonl`` in the folder.
        options: How files become clips.
        workers: Processes that hash and decode.
        overwrite: Replace ``out`` even if it is something else than a manifest.
        reporter: Where progress goes.

    Raises:
        DataError: If the folder is missing or nothing in it can be used.
        UsageError: If ``out`` exists and is no manifest.
        MachineError: If the manifest cannot be written.
    """
    options, reporter = options or IndexOptions(), reporter or SilentReporter()
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; name the folder that holds the clips")
    out = folder / "clips.jsonl" if out is None else Path(out)
    known = _known_clips(out, options, overwrite)
    found = find_clip_files(folder)
    captions, remarks = _read_captions(folder, found)
    problems = list(found.problems)
    paths = [folder / name for name in found.clips]
    hashes = map_files(sha256_file, paths, workers, reporter, "hashing files")
    fresh = [path for path in paths if isinstance(hashes[path], str) and hashes[path] not in known]
    probe = partial(probe_video, timeout=options.timeout, allow_damaged=options.keep_damaged)
    infos = map_files(probe, fresh, workers, reporter, "counting frames")

    clips: list[Clip] = []
    reused = 0
    for name, path in zip(found.clips, paths, strict=True):
        sha256, caption = hashes[path], captions.get(name, Caption("", "train"))
        if not isinstance(sha256, str):
            problems.append((name, _reason(sha256, path)))
            continue
        if sha256 in known:
            made = known[sha256]
            reused += 1
        else:
            info = infos[path]
            if isinstance(info, Exception):
                problems.append((name, _reason(info, path)))
                continue
            if info.damage:
                remarks.append((name, f"kept in part: {info.damage}"))
            made = _clips_of(info, sha256, options)
        shown = path_in_manifest(path, out.parent)
        clips += [
            replace(clip, path=shown, original_name=path.name, caption=caption.text, split=caption.split)
            for clip in made
        ]
    if not clips:
        raise DataError(f"{folder}: {_nothing(found, problems)}")
    write_manifest(out, clips, _recorded(options))
    return _summarize(out, clips, found, reused, problems, remarks)


def cut_excerpts(num_frames: int, size: int, minimum: int) -> list[tuple[int, int]]:
    """First frame and length of the excerpts of a file; together they are the whole file.

    Args:
        num_frames: Frames of the file.
        size: Frames of an excerpt.
        minimum: A rest of fewer frames joins the excerpt before it; a file shorter than ``size`` is one excerpt.
    """
    whole, rest = divmod(num_frames, size)
    if whole == 0:
        return [(0, num_frames)]
    cuts = [(index * size, size) for index in range(whole)]
    if rest >= minimum and rest:
        cuts.append((whole * size, rest))
    else:
        cuts[-1] = (cuts[-1][0], size + rest)
    return cuts


def _clips_of(info: VideoInfo, sha256: str, options: IndexOptions) -> list[Clip]:
    moving = info.kind != "image"
    fps = min(info.fps, options.fps) if moving and options.fps is not None else info.fps
    num_frames = info.num_frames_at(fps)
    cuts = [(0, num_frames)]
    if moving and options.excerpt is not None:
        minimum = options.excerpt / 2 if options.min_excerpt is None else options.min_excerpt
        cuts = cut_excerpts(num_frames, max(1, round(options.excerpt * fps)), max(1, round(minimum * fps)))
    return [
        Clip(
            path="",
            start=first / fps,
            num_frames=count,
            fps=fps,
            height=info.height,
            width=info.width,
            seconds=count / fps,
            caption="",
            sha256=sha256,
            clip_id=clip_id_of(sha256, first / fps, count, fps),
            kind=info.kind,
            split="train",
            original_name="",
        )
        for first, count in cuts
    ]


def _known_clips(out: Path, options: IndexOptions, overwrite: bool) -> dict[str, list[Clip]]:
    """Clips by file hash of the manifest that is there, if this version made it with the same options."""
    if not out.exists():
        return {}
    try:
        old = read_manifest(out)
    except DataError as error:
        if overwrite:
            return {}
        raise UsageError(f"{error}; or replace it: --overwrite") from None
    # What is wrong with a damaged file is not in the manifest, so it is looked at again to be reported again.
    if old.made_by != MADE_BY or dict(old.options) != _recorded(options) or options.keep_damaged:
        return {}
    known: dict[str, dict[str, Clip]] = {}
    for clip in old.clips:
        known.setdefault(clip.sha256, {}).setdefault(clip.clip_id, clip)
    return {sha256: list(clips.values()) for sha256, clips in known.items()}


def _recorded(options: IndexOptions) -> dict[str, object]:
    """What the clips depend on; how long one waits for a decoder is none of it."""
    return {name: value for name, value in asdict(options).items() if name != "timeout"}


def _read_captions(folder: Path, found: FoundFiles) -> tuple[dict[str, Caption], list[tuple[str, str]]]:
    """Captions by name of clip file, and remarks on them."""
    table = CaptionTable()
    for name in found.metadata:
        read_metadata(folder / name, folder, table)
    clips = set(found.clips)
    left_out = {name for name, _ in found.problems}
    missing = [name for name in table.entries if name not in clips and name not in left_out]
    table.problems += [(name, f"has a caption in {' or '.join(METADATA_NAMES)} but is not there") for name in missing]
    for name in found.clips:
        beside = Path(name).with_suffix(".txt").as_posix()
        if beside in found.texts:
            text, problem = read_caption_file(folder / beside)
            split = table.entries[name].split if name in table.entries else "train"
            table.entries[name] = Caption(text, split)
            if problem:
                table.problems.append((beside, problem))
    return table.entries, table.problems


def _reason(error: Exception, path: Path) -> str:
    """An error's text without the file's name, which the report puts in front."""
    text = " ".join(str(error).split())
    return text.removeprefix(f"{path.absolute()}: ").removeprefix(f"{path}: ")


def _nothing(found: FoundFiles, problems: Sequence[tuple[str, str]]) -> str:
    if not problems:
        return f"holds no video, animation or picture ({found.ignored} other files)"
    name, reason = problems[0]
    return f"none of its {len(problems)} clip files can be used; {name}: {reason}"


def _summarize(
    out: Path,
    clips: Sequence[Clip],
    found: FoundFiles,
    reused: int,
    problems: Sequence[tuple[str, str]],
    remarks: Sequence[tuple[str, str]],
) -> IndexSummary:
    files = {clip.path: clip.sha256 for clip in clips}
    return IndexSummary(
        manifest=out,
        num_files=len(files),
        num_clips=len(clips),
        num_images=sum(clip.kind == "image" for clip in clips),
        num_validation=sum(clip.split == "validation" for clip in clips),
        seconds=sum(clip.seconds for clip in clips if clip.kind != "image"),
        sizes=dict(Counter((clip.height, clip.width) for clip in clips).most_common()),
        captions_missing=sum(not clip.caption for clip in clips),
        duplicates=len(files) - len(set(files.values())),
        reused=reused,
        ignored=found.ignored,
        problems=tuple(problems),
        remarks=tuple(remarks),
    )
