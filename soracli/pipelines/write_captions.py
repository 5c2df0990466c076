"""``sora caption write``: a manifest in, the same with captions that somebody wrote out.

Every caption is kept as it comes, so the same call goes on where it stopped; array tasks and ranks each take every
n-th unit, and the last to finish writes the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soracli.core.errors import DataError, Stopped, UsageError
from soracli.core.progress import Reporter, SilentReporter
from soracli.data.caption_journal import Entry, journal_folder, open_journal, read_journals, write_entry
from soracli.data.manifest import Clip, Manifest, path_in_manifest, read_manifest, write_manifest
from soracli.pipelines.caption_sources import CaptionSource
from soracli.training.ranks import work_share
from soracli.training.run_folder import write_stopped
from soracli.training.signals import signal_name, stop_on_signals


@dataclass(frozen=True, kw_only=True)
class WritePlan:
    """What a call of ``write_captions`` would do.

    Attributes:
        clips: In the manifest.
        uncaptioned: Of those without any caption.
        done: Captioned by earlier calls.
        mine: Left to this process.
        writer: Who writes.
        out: The new manifest.
    """

    clips: int
    uncaptioned: int
    done: int
    mine: int
    writer: dict[str, object]
    out: str


@dataclass(frozen=True, kw_only=True)
class WriteSummary:
    """What became of a manifest.

    Attributes:
        manifest: The new one.
        captioned: Clips whose caption was written.
        confidence: Mean confidence of those whose writer says it; None if none does.
        problems: Clips that keep the caption they had: name and reason.
        remarks: What was done to captions: name and remark.
    """

    manifest: Path
    captioned: int
    confidence: float | None
    problems: tuple[tuple[str, str], ...]
    remarks: tuple[tuple[str, str], ...]


def default_out(clips: Path) -> Path:
    """``clips.captioned.jsonl`` beside ``clips.jsonl``."""
    return clips.with_name(f"{clips.stem}.captioned.jsonl")


def plan_captions(clips: Path, source: CaptionSource, *, out: Path, retry: bool = False) -> WritePlan:
    """Check and count, and change nothing.

    Args:
        clips: The manifest.
        source: Who would write.
        out: The new manifest.
        retry: As for ``write_captions``.

    Raises:
        SoraError: For anything that would stop the call at its start.
    """
    manifest = read_manifest(clips)
    _check_out(manifest, source, out, overwrite=True)
    entries = read_journals(journal_folder(out, manifest.clips, source.record), with_problems=not retry)
    return WritePlan(
        clips=len(manifest.clips),
        uncaptioned=sum(not clip.caption for clip in manifest.clips),
        done=len(entries),
        mine=len(_left(manifest.clips, entries, source.unit)),
        writer=dict(source.record),
        out=str(out),
    )


def write_captions_of(
    clips: Path,
    source: CaptionSource,
    *,
    out: Path,
    overwrite: bool = False,
    retry: bool = False,
    reporter: Reporter | None = None,
) -> WriteSummary:
    """Caption every clip of a manifest.

    The caption that a clip had becomes its ``original_caption``, unless it has one already. A clip that gets none
    keeps what it had.

    Args:
        clips: The manifest; it stays as it is.
        source: Who writes.
        out: The new manifest.
        overwrite: Whether another file may be replaced; a result of the same call is.
        retry: Ask again about clips that got none before.
        reporter: Who is told.

    Returns:
        What was written, when all clips are done.

    Raises:
        Stopped: After a stop on request, when a budget is spent, or when other tasks still have clips to caption.
        DataError: If no clip at all can be captioned.
        SoraError: For anything else a user can put right.
    """
    reporter = reporter or SilentReporter()
    manifest = read_manifest(clips)
    _check_out(manifest, source, out, overwrite=overwrite)
    folder = journal_folder(out, manifest.clips, source.record)
    mine = _left(manifest.clips, read_journals(folder, with_problems=not retry), source.unit)
    number, count = work_share(os.environ)
    with (
        stop_on_signals() as flag,
        open_journal(folder, f"{number}-of-{count}") as journal,
        reporter.task("caption write", len(mine), "clip") as task,
    ):
        answers = source.write(manifest, [manifest.clips[place] for place in mine])
        places = iter(mine)
        for clip, answer in answers:
            # In their order, but whoever ran out of budget leaves some out.
            place = next(place for place in places if manifest.clips[place] is clip)
            if isinstance(answer, DataError):
                write_entry(journal, Entry(place, problem=" ".join(str(answer).split())))
            else:
                write_entry(journal, Entry(place, answer.text, answer.confidence or 0.0, answer.remark))
            task.advance()
            if flag:
                answers.close()
                break
    entries = read_journals(folder)
    missing = len(manifest.clips) - len(entries)
    if flag and missing:
        reason = signal_name(flag.level) or ""
        if element := os.environ.get("SLURM_ARRAY_TASK_ID"):
            write_stopped(folder.parent, reason, element)
        raise Stopped(f"{reason}: {missing} clips are left and every caption is kept; the same command goes on")
    if missing:
        raise Stopped(
            f"{missing} of {len(manifest.clips)} clips are left to the other tasks; the last one writes {out}"
        )
    return _finish(manifest, source, out, entries)


def _left(clips: Sequence[Clip], entries: Mapping[int, Entry], unit: int) -> list[int]:
    """Numbers of the clips of this process in units that are not whole."""
    number, count = work_share(os.environ)
    units = [range(first, min(first + unit, len(clips))) for first in range(0, len(clips), unit)]
    return [place for one in units[number::count] if any(place not in entries for place in one) for place in one]


def _check_out(manifest: Manifest, source: CaptionSource, out: Path, *, overwrite: bool) -> None:
    if out.is_dir() or out.suffix != ".jsonl":
        better = out / "clips.jsonl" if out.is_dir() else out.with_name(f"{out.name}.jsonl")
        raise UsageError(f"--out {out} is no name of a manifest; name it --out {better}")
    if out.exists() and out.samefile(manifest.path):
        raise UsageError(f"--out {out} is the manifest that is read; give the new one another name")
    if out.exists() and not overwrite and read_manifest(out).options.get("captions") != source.record:
        raise UsageError(f"{out} exists and its captions were not written by this; give another name, or --overwrite")


def _finish(manifest: Manifest, source: CaptionSource, out: Path, entries: Mapping[int, Entry]) -> WriteSummary:
    written = [entry for entry in entries.values() if entry.text]
    named = [(manifest.clips[number].original_name, entry) for number, entry in sorted(entries.items())]
    problems = tuple((name, entry.problem) for name, entry in named if not entry.text)
    if not written:
        raise DataError(f"none of {len(manifest.clips)} clips could be captioned, the first one: {problems[0][1]}")
    clips = [
        _captioned(manifest, clip, entries[number], out.absolute().parent) for number, clip in enumerate(manifest.clips)
    ]
    write_manifest(out, clips, {**manifest.options, "captions": source.record})
    sure = [entry.confidence for entry in written if entry.confidence]
    return WriteSummary(
        manifest=out,
        captioned=len(written),
        confidence=sum(sure) / len(sure) if sure else None,
        problems=problems,
        remarks=tuple((name, entry.remark) for name, entry in named if entry.remark),
    )


def _captioned(manifest: Manifest, clip: Clip, entry: Entry, folder: Path) -> Clip:
    clip = replace(clip, path=path_in_manifest(manifest.locate(clip), folder))
    if not entry.text:
        return clip
    return replace(
        clip,
        caption=entry.text,
        caption_confidence=entry.confidence,
        original_caption=clip.original_caption or clip.caption,
    )
