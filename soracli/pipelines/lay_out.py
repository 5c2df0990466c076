"""Where the stretches of a user's video lie around what a verb makes, and what the video says that it shows there.

What tells one verb from another is which stretches are before and after the gap, and which are written; torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from soracli.core.errors import DataError, UsageError
from soracli.core.units import format_seconds
from soracli.data.video_info import VideoInfo
from soracli.data.video_record import read_record
from soracli.pipelines.fit_video import bridge_frames
from soracli.pipelines.scenes import Scene, recorded_scenes, shown_at

Verb = Literal["extend", "extend backward", "connect", "loop", "redo", "edit"]
DEFAULT_SECONDS = 4.0
DEFAULT_BRIDGE_SECONDS = 2.0

Span = tuple[float, float | None]
"""From which to which second; None is the end of the video."""


@dataclass(frozen=True)
class Stretch:
    """Frames of a video, at the rate and size of what is written.

    Attributes:
        info: The video.
        start: First frame.
        stop: The one after the last.
    """

    info: VideoInfo
    start: int
    stop: int

    @property
    def num_frames(self) -> int:
        """How many."""
        return self.stop - self.start


def default_seconds(verb: Verb) -> float:
    """How much is made when nobody says."""
    return DEFAULT_BRIDGE_SECONDS if verb in ("connect", "loop") else DEFAULT_SECONDS


def lay_out(
    verb: Verb,
    infos: Sequence[VideoInfo],
    fps: float,
    stride: int,
    frames_per_latent: int,
    seconds: float | None,
    span: Span | None,
) -> tuple[int, dict[str, Stretch | None]]:
    """Frames of the gap, and what lies and what is written before and after it.

    Args:
        verb: What is asked for.
        infos: The videos.
        fps: Of what is written.
        stride: Of ``Fitted``.
        frames_per_latent: Of the VAE.
        seconds: Length of the gap; None for the verb's own.
        span: Of ``redo``.

    Returns:
        The number of frames, and ``before``, ``after``, ``first``, ``last`` and ``edited`` of ``GapPlan``.

    Raises:
        UsageError: If the span is not within the video, or is all of it.
        DataError: If a video is a picture where none can be, or too short.
    """
    wholes = [Stretch(info, 0, info.num_frames_at(fps) if info.kind != "image" else 1) for info in infos]
    whole, length = wholes[0], wholes[0].num_frames
    moving = [info for info in infos if info.kind == "image"] if verb not in ("extend", "edit") else []
    if moving:
        raise DataError(f"{moving[0].path.name} is a picture: sora extend {moving[0].path.name} sets it in motion")
    wanted = max(1, round((seconds or default_seconds(verb)) * fps))
    none = {"before": None, "after": None, "first": None, "last": None, "edited": None}
    if verb == "edit":
        return length, {**none, "edited": whole}
    if verb == "extend":
        return wanted, {**none, "before": whole, "first": whole}
    if verb == "extend backward":
        return wanted, {**none, "after": whole, "last": whole}
    if verb == "redo":
        start, stop = _redone_frames(whole, span or (0.0, None), fps, stride, frames_per_latent)
        first = Stretch(whole.info, 0, start) if start else None
        last = Stretch(whole.info, stop, length) if stop < length else None
        return stop - start, {**none, "before": first, "after": last, "first": first, "last": last}
    if verb == "connect":
        made = bridge_frames(wanted, stride, frames_per_latent)
        return made, {**none, "before": whole, "after": wholes[1], "first": whole, "last": wholes[1]}
    shortest = bridge_frames(1, stride, frames_per_latent)
    if seconds is not None:
        made = bridge_frames(wanted, stride, frames_per_latent)
        return made, {**none, "before": whole, "after": whole, "first": whole}
    if length < 2 * shortest:
        raise DataError(
            f"{whole.info.path.name} has {length} frames, too few to make {shortest} of them anew: "
            f"--seconds {DEFAULT_BRIDGE_SECONDS:g}s adds a bridge from its end to its beginning instead"
        )
    made = bridge_frames(min(wanted, length // 2), stride, frames_per_latent)
    while made > length // 2:
        made -= stride * frames_per_latent
    kept = Stretch(whole.info, 0, length - made)
    return made, {**none, "before": kept, "after": kept, "first": kept}


def _redone_frames(whole: Stretch, span: Span, fps: float, stride: int, frames_per_latent: int) -> tuple[int, int]:
    """The first frame that is made anew and the one after the last.

    All of the span; with frames on both sides it is widened to whole latents, on both sides alike where there is room.
    """
    name, length = whole.info.path.name, whole.num_frames
    start = round(span[0] * fps)
    stop = length if span[1] is None else max(start + 1, round(span[1] * fps))
    if start >= length or stop > length:
        outside = format_seconds(span[0] if start >= length else span[1] or 0.0)
        raise UsageError(f"{name} ends at {format_seconds(length / fps)}; {outside} is beyond it")
    if start == 0 and stop == length:
        raise UsageError(f"that is all of {name}, with nothing left to go on from: sora generate makes another")
    if start == 0 or stop == length:
        return start, stop
    asked, shortest = stop - start, bridge_frames(1, stride, frames_per_latent)
    missing = shortest - asked if asked < shortest else (shortest - asked) % (stride * frames_per_latent)
    if asked + missing > length - 2:
        raise DataError(
            f"{name} has {length} frames, too few to keep some on both sides of {asked + missing} that are made anew: "
            "name a span from its beginning, or to its end"
        )
    start = min(max(1, start - missing // 2), length - 1 - asked - missing)
    return start, start + asked + missing


def span_note(span: Span, made: int, first: Stretch | None, fps: float) -> str:
    """What a person should know of a span that was widened; empty if it was not."""
    start = 0 if first is None else first.stop
    if start == round(span[0] * fps) and (span[1] is None or start + made == round(span[1] * fps)):
        return ""
    where = f"{format_seconds(start / fps)} to {format_seconds((start + made) / fps)}"
    return f"{where} are made anew: between what stands lies a whole number of latents"


def made_of(info: VideoInfo, verb: Verb, made: int, first: Stretch | None, fps: float) -> tuple[str, tuple[Scene, ...]]:
    """What a video says that it shows where the gap is: at its end, at its beginning, or, of ``redo``, in its midst.

    Args:
        info: The video.
        verb: What is asked for.
        made: Frames of the gap.
        first: What stands before it.
        fps: Of what is written.

    Returns:
        A prompt, empty if it says none, and the scenes after that, in seconds of the gap.
    """
    record = read_record(info.path)
    scenes = recorded_scenes(record)
    if not scenes:
        return "", ()
    if verb != "redo" or "verb" in record:  # of what a verb made, scenes count from another moment
        return scenes[0 if verb == "extend backward" else -1].prompt, ()
    start = 0.0 if first is None else first.stop / fps
    inside = (Scene(scene.at - start, scene.prompt) for scene in scenes if start < scene.at < start + made / fps)
    return shown_at(scenes)(start), tuple(inside)
