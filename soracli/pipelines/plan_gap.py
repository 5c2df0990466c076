"""What ``sora extend``, ``connect``, ``loop`` and ``edit`` will make, checked before torch is loaded.

The first three are one thing: a gap with a stretch of the user's video before it, after it, or both. What differs is
where the stretches lie and which of them are written beside the gap. An edit is made of the whole video instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from soracli.core.errors import DataError, UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.units import format_seconds
from soracli.data.video_info import VideoInfo
from soracli.data.video_read import probe_video
from soracli.data.video_record import read_record as read_video_record
from soracli.data.video_write import checked_suffix
from soracli.diffusion.options import SamplingOptions
from soracli.models.record import part_folder, read_record
from soracli.pipelines.fit_video import Fitted, aspect_change, bridge_frames, fit_video
from soracli.pipelines.sampling_choice import (
    RECORDED_CHARACTERS,
    check_ranges,
    check_sampling,
    draw_seed,
    model_defaults,
    sampling_options,
)

Verb = Literal["extend", "extend backward", "connect", "loop", "edit"]
DEFAULT_SECONDS = 4.0
DEFAULT_BRIDGE_SECONDS = 2.0
_ENDINGS = {
    "extend": "extended",
    "extend backward": "extended-backward",
    "connect": "connected",
    "loop": "loop",
    "edit": "edited",
}


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


@dataclass(frozen=True, kw_only=True)
class GapPlan:
    """All that ``write_gap`` needs to know.

    Attributes:
        verb: What it is for.
        model: Folder of the model.
        before: What the gap goes on with, if anything.
        after: What it runs into, if anything.
        first: What is written before the gap.
        last: What is written after it.
        edited: What is made anew, if anything.
        strength: From which noise level; None where an instruction says what is to change.
        num_frames: Of the gap.
        fps: Of all that is written.
        size: Height and width of all that is written.
        fitted: What the model sees of it.
        prompt: What the gap shows; empty for what follows from what is there.
        negative_prompt: What to steer away from.
        seed: Decides the noise.
        options: How to sample.
        out: The file.
        overwrite: Whether it may be replaced.
        lossless: Whether every pixel is kept.
        record: What the file will say of itself.
        notes: What a person should be told first.
    """

    verb: Verb
    model: Path
    before: Stretch | None
    after: Stretch | None
    first: Stretch | None
    last: Stretch | None
    edited: Stretch | None
    strength: float | None
    num_frames: int
    fps: float
    size: tuple[int, int]
    fitted: Fitted
    prompt: str
    negative_prompt: str
    seed: int
    options: SamplingOptions
    out: Path
    overwrite: bool
    lossless: bool
    record: Mapping[str, Any]
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What a person or a program wants to know beforehand, as JSON values."""
        kept = sum(part.num_frames for part in (self.first, self.last) if part)
        return {
            "verb": self.verb,
            "kept_frames": kept,
            "made_frames": self.num_frames,
            "seconds": (kept + self.num_frames) / self.fps,
            "fps": self.fps,
            "size": f"{self.size[1]}x{self.size[0]}",
            "model_fps": self.fitted.fps,
            "model_size": f"{self.fitted.size[1]}x{self.fitted.size[0]}",
            "prompt": self.prompt,
            "strength": self.strength,
            "seed": self.seed,
            "out": self.out,
            "notes": list(self.notes),
        }


def plan_gap(
    verb: Verb,
    videos: Sequence[Path],
    *,
    model: Path,
    prompt: str | None = None,
    seconds: float | None = None,
    strength: float | None = None,
    seed: int | None = None,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_interval: tuple[float, float] | None = None,
    sampler: str | None = None,
    classical_guidance: bool = False,
    negative_prompt: str = "",
    out: Path | None = None,
    overwrite: bool = False,
    lossless: bool = False,
) -> GapPlan:
    """Check everything that can be checked without torch.

    Args:
        verb: What is asked for.
        videos: Two to connect, one for the others: videos or animations, for ``extend`` also a picture.
        model: A model folder or a finished run of ``sora dit train``.
        prompt: What the gap shows; None takes what the first video says that it was made of, or nothing.
        seconds: Length of the gap, rounded to whole latents where it has an end. None is 4 s to extend, 2 s to connect;
            a loop then keeps the length of the video and makes its last 2 s anew, of a shorter one up to its half.
        strength: Of an edit, 0 to 1: how much noise its frames are made anew from, to show the prompt; None follows the
            prompt as an instruction, which takes a model with ``dit.edits``.
        seed: Decides the noise; drawn if None.
        num_steps: Steps of each block; the model's own if None.
        guidance_scale: 1 is none; the model's own if None.
        guidance_interval: Noise levels that are guided; the model's own if None.
        sampler: euler, heun or dpmpp_2m; the model's own if None.
        classical_guidance: Guide a distilled model by evaluations side by side, not by its input.
        negative_prompt: What to steer away from.
        out: The file; None puts it beside nothing else into the current folder, named after the video and the verb.
        overwrite: Replace what exists.
        lossless: Keep every pixel of the user's frames; then the file is a .mkv.

    Raises:
        UsageError: If an option cannot be; names the nearest that can.
        DataError: If a video cannot be read, or is too short for what is asked.
        ArtifactError: If the model is no model that makes videos.
    """
    check_ranges(seed, 1, num_steps, guidance_scale)
    check_sampling(guidance_interval, sampler)
    record = read_record(part_folder(model, "dit"), "dit")
    spec, defaults = LatentSpec.from_dict(record.get("latents") or {}), model_defaults(record, model)
    if verb == "edit":
        _check_edit(prompt, strength, bool(record["config"].get("edits")), model)
    infos = [probe_video(path) for path in videos]
    leading = infos[0]
    fps, size = leading.fps, (leading.height, leading.width)
    if leading.kind == "image":
        fps = float(defaults["fps"])  # a picture has no rate of its own
    patch = record["config"]["patch_size"]
    fitted = fit_video(
        fps=fps,
        height=leading.height,
        width=leading.width,
        trained_fps=float(defaults["fps"]),
        trained_size=(int(defaults["size"][0]), int(defaults["size"][1])),
        unit=(spec.compression[1] * patch[1], spec.compression[2] * patch[2]),
    )
    notes = _notes(infos, size, fps, fitted)
    shown = prompt
    if shown is None:
        shown = str(read_video_record(leading.path).get("prompt", ""))
        if shown:
            notes.append(f"the video was made of '{shown}', which goes on; another prompt may follow the file's name")
    if seed is None:
        seed = draw_seed()
        notes.append(f"seed: {seed}")
    options = sampling_options(
        defaults,
        num_steps=num_steps,
        guidance_scale=guidance_scale,
        guidance_interval=guidance_interval,
        sampler=sampler,
        classical_guidance=classical_guidance,
    )
    if (
        shown.strip() == negative_prompt.strip() and verb != "edit"
    ):  # nothing to steer between: the second evaluation would be the first
        options = replace(options, guidance_scale=1.0, later_guidance_scale=None)
    made, stretches = _lay_out(verb, infos, fps, fitted.stride, spec.compression[0], seconds)
    asked = None if verb == "edit" or (verb == "loop" and seconds is None) else seconds or _default_seconds(verb)
    if asked is not None and abs(made / fps - asked) > 0.5 / fps:
        notes.append(f"{format_seconds(made / fps)} are made: a gap with an end is a whole number of latents")
    is_picture = verb == "edit" and leading.kind == "image"
    path = out or Path(f"{leading.path.stem}-{_ENDINGS[verb]}.{'mkv' if lossless else 'png' if is_picture else 'mp4'}")
    if checked_suffix(path) == ".png" and not is_picture:
        raise UsageError(f"{path.name} is a picture; name a .mp4")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; give another name or --overwrite")
    if any(path.exists() and path.samefile(info.path) for info in infos):
        raise UsageError(f"{path} is the video itself; give another name")
    return GapPlan(
        verb=verb,
        model=model,
        **stretches,
        strength=strength,
        num_frames=made,
        fps=fps,
        size=size,
        fitted=fitted,
        prompt=shown.strip(),
        negative_prompt=negative_prompt.strip(),
        seed=seed,
        options=options,
        out=path,
        overwrite=overwrite,
        lossless=lossless,
        record={
            "verb": verb,
            "videos": [info.path.name for info in infos],
            "prompt": shown[:RECORDED_CHARACTERS],
            "negative_prompt": negative_prompt[:RECORDED_CHARACTERS],
            "seed": seed,
            "made_frames": made,
            **({} if strength is None else {"strength": strength}),
            **options.record(),
            "model": str(record["hash"]),
        },
        notes=tuple(notes),
    )


def _check_edit(prompt: str | None, strength: float | None, follows: bool, model: Path) -> None:
    if not (prompt or "").strip():
        raise UsageError('an edit needs words: sora edit VIDEO "make the ball blue"')
    if strength is None and not follows:
        raise UsageError(
            f"{model} was not trained to follow instructions: --strength 0.6 makes the video anew from its own frames; "
            "the prompt then says what it shows"
        )
    if strength is not None and not 0 <= strength <= 1:
        raise UsageError(f"--strength must be 0 (as it is) to 1 (another video), got {strength:g}")


def _default_seconds(verb: Verb) -> float:
    return DEFAULT_BRIDGE_SECONDS if verb in ("connect", "loop") else DEFAULT_SECONDS


def _lay_out(
    verb: Verb, infos: Sequence[VideoInfo], fps: float, stride: int, frames_per_latent: int, seconds: float | None
) -> tuple[int, dict[str, Stretch | None]]:
    """Frames of the gap, and what lies and what is written before and after it."""
    wholes = [Stretch(info, 0, info.num_frames_at(fps) if info.kind != "image" else 1) for info in infos]
    whole, length = wholes[0], wholes[0].num_frames
    moving = [info for info in infos if info.kind == "image"] if verb not in ("extend", "edit") else []
    if moving:
        raise DataError(f"{moving[0].path.name} is a picture: sora extend {moving[0].path.name} sets it in motion")
    wanted = max(1, round((seconds or _default_seconds(verb)) * fps))
    none = {"before": None, "after": None, "first": None, "last": None, "edited": None}
    if verb == "edit":
        return length, {**none, "edited": whole}
    if verb == "extend":
        return wanted, {**none, "before": whole, "first": whole}
    if verb == "extend backward":
        return wanted, {**none, "after": whole, "last": whole}
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


def _notes(infos: Sequence[VideoInfo], size: tuple[int, int], fps: float, fitted: Fitted) -> list[str]:
    notes = []
    seen = f"{fitted.size[1]}x{fitted.size[0]} at {fitted.fps:g} frames a second"
    if fitted.stride > 1 or fitted.size != size:
        blend = "" if fitted.stride == 1 else f", every {fitted.stride} frames; those between are blended"
        notes.append(f"the model sees and makes {seen}{blend}")
    change = aspect_change(fitted, size)
    if not 0.8 < change < 1.25:
        notes.append(f"it sees things {change:.2g} times as wide as they are: no size of it is nearer to this aspect")
    for info in infos:
        if info.variable:
            notes.append(f"{info.path.name} has a variable frame rate; it is read at {info.fps:g} frames a second")
        if info.damage:
            notes.append(f"{info.path.name}: {info.damage}")
    for info in infos[1:]:
        if (info.height, info.width) != size or info.fps != fps:
            notes.append(
                f"{info.path.name} ({info.width}x{info.height}, {info.fps:g} frames a second) is brought to "
                f"{size[1]}x{size[0]} and {fps:g} as the first video has"
            )
    if any(info.kind == "video" for info in infos):
        notes.append("sound is not kept")
    return notes
