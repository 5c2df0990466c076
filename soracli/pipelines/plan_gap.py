"""What ``sora extend``, ``connect``, ``loop``, ``redo`` and ``edit`` will make, checked before torch is loaded.

All but the last are one thing: a gap with a stretch of the user's video before it, after it, or both; ``lay_out`` says
which. An edit is made of the whole video instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soracli.core.errors import UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.core.units import format_seconds
from soracli.data.video_info import VideoInfo
from soracli.data.video_read import probe_video
from soracli.data.video_write import checked_suffix
from soracli.diffusion.options import SamplingOptions
from soracli.models.record import part_folder, read_record
from soracli.pipelines.expand_prompt import Expand, as_it_is, expansion_note, expansion_record
from soracli.pipelines.fit_video import Fitted, aspect_change, fit_video
from soracli.pipelines.lay_out import Stretch, Verb, default_seconds, lay_out, made_of, span_note
from soracli.pipelines.sampling_choice import (
    RECORDED_CHARACTERS,
    check_ranges,
    check_sampling,
    draw_seed,
    model_defaults,
    patch_size_of,
    sampling_options,
)
from soracli.pipelines.scenes import Scene, check_lengths, expand_scenes, scenes_record

_ENDINGS = {
    "extend": "extended",
    "extend backward": "extended-backward",
    "connect": "connected",
    "loop": "loop",
    "redo": "redone",
    "edit": "edited",
}


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
        prompt: What the gap shows, at first if there are later scenes; empty for what follows from what is there.
        later: What it shows after that, in the order of time, which counts from where the gap begins.
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
    later: tuple[Scene, ...]
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
            "later": [[scene.at, scene.prompt] for scene in self.later],
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
    later: Sequence[Scene] = (),
    seconds: float | None = None,
    span: tuple[float, float | None] | None = None,
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
    expand: Expand = as_it_is,
) -> GapPlan:
    """Check everything that can be checked without torch.

    Args:
        verb: What is asked for.
        videos: Two to connect, one for the others: videos or animations, for ``extend`` also a picture.
        model: A model folder or a finished run of ``sora dit train``.
        prompt: What the gap shows; None takes what the first video says that it was made of, or nothing.
        later: What it shows after that; not for edits.
        seconds: Length of the gap, rounded to whole latents where it has an end. None is 4 s to extend, 2 s to connect;
            a loop then keeps the length of the video and makes its last 2 s anew, of a shorter one up to its half.
        span: Of ``redo``: from which to which second the video is made anew, None for its end; widened to whole latents
            where there is video on both sides.
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
        expand: Makes long what is asked for, not what the video says that it was made of.

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
    patch = patch_size_of(record, model)
    fitted = fit_video(
        fps=fps,
        height=leading.height,
        width=leading.width,
        trained_fps=float(defaults["fps"]),
        trained_size=(int(defaults["size"][0]), int(defaults["size"][1])),
        unit=(spec.compression[1] * patch[1], spec.compression[2] * patch[2]),
    )
    made, stretches = lay_out(verb, infos, fps, fitted.stride, spec.compression[0], seconds, span)
    notes = _notes(infos, size, fps, fitted)
    if span is not None and (note := span_note(span, made, stretches["first"], fps)):
        notes.append(note)
    check_lengths(later, made / fps, spec.compression[0] / fitted.fps)
    if seed is None:
        seed = draw_seed()
        notes.append(f"seed: {seed}")
    wanted = expand("" if prompt is None else prompt.strip(), seed, True)
    later, told = expand_scenes(later, expand, seed)
    notes += [*expansion_note(wanted), *told]
    shown = wanted.text
    if prompt is None:
        shown, going_on = made_of(leading, verb, made, stretches["first"], fps)
        later = later or going_on
        if shown:
            notes.append(f"the video was made of '{shown}', which goes on; another prompt may follow the file's name")
    options = sampling_options(
        defaults,
        num_steps=num_steps,
        guidance_scale=guidance_scale,
        guidance_interval=guidance_interval,
        sampler=sampler,
        classical_guidance=classical_guidance,
    )
    shown = shown.strip()
    if verb != "edit" and {shown, *(scene.prompt for scene in later)} == {negative_prompt.strip()}:
        # Nothing to steer between: the second evaluation would be the first.
        options = replace(options, guidance_scale=1.0, later_guidance_scale=None)
    keeps_length = verb in ("edit", "redo") or (verb == "loop" and seconds is None)
    asked = None if keeps_length else seconds or default_seconds(verb)
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
        prompt=shown,
        later=tuple(later),
        negative_prompt=negative_prompt.strip(),
        seed=seed,
        options=options,
        out=path,
        overwrite=overwrite,
        lossless=lossless,
        record={
            "verb": verb,
            "videos": [info.path.name for info in infos],
            "prompt": (wanted.prompt or shown)[:RECORDED_CHARACTERS],
            **expansion_record(wanted),
            **scenes_record(later),
            "negative_prompt": negative_prompt[:RECORDED_CHARACTERS],
            "seed": seed,
            "made_frames": made,
            **({"from_frame": stretches["first"].stop if stretches["first"] else 0} if verb == "redo" else {}),
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
