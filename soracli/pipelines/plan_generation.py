"""What a call of ``sora generate`` will make, checked before torch is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from soracli.core.errors import UsageError
from soracli.core.latent_spec import LatentSpec
from soracli.data.video_grid import MAX_VIDEOS
from soracli.data.video_write import checked_suffix
from soracli.diffusion.options import SamplingOptions
from soracli.models.record import part_folder, read_adapter_record, read_record
from soracli.pipelines.expand_prompt import Expand, as_it_is, expansion_note, expansion_record
from soracli.pipelines.first_frame import cut_note, picture_record, probe_first_frame, size_for
from soracli.pipelines.output_names import Output, grid_output, output_files
from soracli.pipelines.sampling_choice import (
    RECORDED_CHARACTERS,
    check_ranges,
    check_sampling,
    checked_prompt,
    draw_seed,
    fitting_size,
    model_defaults,
    patch_size_of,
    sampling_options,
)
from soracli.pipelines.scenes import Scene, check_lengths, expand_scenes, scenes_record

DEFAULT_SECONDS = 4.0
"""Length of a video when none is asked for."""


@dataclass(frozen=True)
class Job:
    """One video or picture.

    Attributes:
        prompt: What it shows, at first if there are later scenes; as it was expanded, if it was.
        seed: Decides its noise.
        path: Where it goes.
        is_made: Whether it is there already.
        record: What the file will say of itself.
    """

    prompt: str
    seed: int
    path: Path
    is_made: bool
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class GenerationPlan:
    """All that ``make_videos`` needs to know.

    Attributes:
        model: Folder of the model.
        jobs: What to make, in order.
        num_frames: Frames of each.
        size: Height and width, pixels.
        fps: Frames a second.
        options: How to sample.
        negative_prompt: What to steer away from.
        overwrite: Whether existing files may be replaced.
        contact_sheet: Whether each video gets a picture of frames beside it.
        notes: What a person should be told first.
        adapter: Folder of the adapter that is put on the model, if any.
        image: The picture that each begins with, if any.
        later: What each shows after its prompt, in the order of time.
        grid: Where all of them go side by side, if anywhere.
        grid_record: What that file will say of itself.
    """

    model: Path
    jobs: tuple[Job, ...]
    num_frames: int
    size: tuple[int, int]
    fps: float
    options: SamplingOptions
    negative_prompt: str
    overwrite: bool
    contact_sheet: bool
    notes: tuple[str, ...]
    adapter: Path | None = None
    image: Path | None = None
    later: tuple[Scene, ...] = ()
    grid: Output | None = None
    grid_record: Mapping[str, Any] = field(default_factory=dict)


def plan_generation(
    prompts: str | Sequence[str] | None,
    *,
    model: Path,
    image: Path | None = None,
    later: Sequence[Scene] = (),
    seconds: float | None = None,
    size: tuple[int, int] | None = None,
    round_size: bool = False,
    fps: float | None = None,
    seed: int | None = None,
    count: int = 1,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_interval: tuple[float, float] | None = None,
    sampler: str | None = None,
    classical_guidance: bool = False,
    negative_prompt: str = "",
    out: Path | None = None,
    overwrite: bool = False,
    contact_sheet: bool = False,
    grid: bool = False,
    adapter: Path | None = None,
    expand: Expand = as_it_is,
) -> GenerationPlan:
    """Check everything that can be checked without torch.

    Args:
        prompts: One or several; None, where a picture is set in motion, leaves to the model what follows from it.
        model: A model folder or a finished run of ``sora dit train``.
        image: The first frame of each video.
        later: What each shows after its prompt.
        seconds: Length of each video; at least one frame is made.
        size: Height and width; None takes the model's own, or with an image its aspect and about as many pixels.
        round_size: Take the nearest size that fits instead of refusing.
        fps: Frames a second; the model's own if None.
        seed: Of the first video of each prompt; drawn if None.
        count: Videos of each prompt, with seeds ``seed``, ``seed + 1`` and so on.
        num_steps: Steps of each block; the model's own if None.
        guidance_scale: 1 is none; the model's own if None.
        guidance_interval: Noise levels that are guided, above the first and up to the second; the model's own if None.
        sampler: How steps are taken: euler, heun or dpmpp_2m; the model's own if None.
        classical_guidance: Guide a distilled model by evaluations side by side, not by its input.
        negative_prompt: What to steer away from.
        out: See ``soracli.pipelines.output_names``; a ``.png`` makes pictures.
        overwrite: Replace what exists.
        contact_sheet: Put ``NAME-contact-sheet.png`` beside each video.
        grid: Also make ``NAME-grid.mp4`` of all videos side by side.
        adapter: An adapter trained on the model; what it was trained for is then the model's own.
        expand: Makes prompts long: that of each video by its own seed, those of later scenes by the first.

    Raises:
        UsageError: If an option cannot be; names the nearest that can.
        DataError: If the image is no picture.
        ArtifactError: If the model is no model that makes videos, or the adapter is one of another model.
    """
    texts = [checked_prompt(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts or ())]
    if prompts is None and image is not None:
        texts = [""]
    if not texts:
        raise UsageError("no prompt; say what to show")
    of_videos = {"--seconds": seconds is not None, "--fps": fps is not None, "--contact-sheet": contact_sheet}
    _check_out(out, {**of_videos, "--image": image is not None, "later scenes": bool(later)})
    check_ranges(seed, count, num_steps, guidance_scale)
    check_sampling(guidance_interval, sampler)
    is_picture = out is not None and out.suffix.lower() == ".png"
    record = read_record(part_folder(model, "dit"), "dit")
    tuned = None if adapter is None else read_adapter_record(adapter, model)
    spec, defaults = (
        LatentSpec.from_dict(record.get("latents") or {}),
        model_defaults(tuned or record, adapter or model),
    )
    notes: list[str] = []

    rate, patch_size = fps or float(defaults["fps"]), patch_size_of(record, model)
    trained_size: tuple[int, int] = (int(defaults["size"][0]), int(defaults["size"][1]))
    picture = None if image is None else probe_first_frame(image)
    own_size = trained_size if picture is None else size_for(picture, spec, patch_size, defaults)
    chosen = fitting_size(size or own_size, spec, patch_size, round_size)
    if picture is not None and (note := cut_note(picture, chosen)):
        notes.append(note)
    notes += _far_from_trained(chosen, trained_size, rate, float(defaults["fps"]))
    length = DEFAULT_SECONDS if seconds is None else seconds
    num_frames = 1 if is_picture else spec.num_frames_for(length, rate)
    check_lengths(later, num_frames / rate, spec.compression[0] / rate)
    if not is_picture and length * rate < 1:
        notes.append(f"{length:g}s is less than a frame at {rate:g} frames a second; one frame is made")
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
    if all(
        text == negative_prompt.strip() for text in (*texts, *(scene.prompt for scene in later))
    ):  # nothing to steer between
        options = replace(options, guidance_scale=1.0, later_guidance_scale=None)
    later, told = expand_scenes(later, expand, seed)
    wanted = [expand(text, seed + number, not is_picture) for text in texts for number in range(count)]
    notes += dict.fromkeys([*(note for one in wanted for note in expansion_note(one)), *told])
    seeds = [seed + number for _ in texts for number in range(count)]
    common = {
        "negative_prompt": negative_prompt[:RECORDED_CHARACTERS],
        "num_frames": num_frames,
        "fps": rate,
        "size": f"{chosen[1]}x{chosen[0]}",
        **options.record(),
        "model": str(record["hash"]),
        **({} if tuned is None else {"adapter": str(tuned["hash"])}),
        **({} if image is None else picture_record(image)),
        **scenes_record(later),
    }
    records = [
        {"prompt": one.prompt[:RECORDED_CHARACTERS], **expansion_record(one), "seed": number, **common}
        for one, number in zip(wanted, seeds, strict=True)
    ]
    if grid and not 1 < len(wanted) <= MAX_VIDEOS:
        raise UsageError(
            f"--grid puts 2 to {MAX_VIDEOS} videos side by side, here are {len(wanted)}: --count says how many"
        )
    files = output_files(records, out, overwrite=overwrite, contact_sheet=contact_sheet)
    together = {"grid": [file.path.name for file in files], "sha256": _hash_of(records)}
    return GenerationPlan(
        model=model,
        jobs=tuple(
            Job(one.text, number, file.path, file.is_made, about)
            for one, number, about, file in zip(wanted, seeds, records, files, strict=True)
        ),
        num_frames=num_frames,
        size=chosen,
        fps=rate,
        options=options,
        negative_prompt=negative_prompt,
        overwrite=overwrite,
        contact_sheet=contact_sheet,
        notes=tuple(notes),
        adapter=adapter,
        image=image,
        later=tuple(later),
        grid=grid_output(files, together, out, overwrite=overwrite) if grid else None,
        grid_record=together,
    )


def _hash_of(records: Sequence[Mapping[str, Any]]) -> str:
    """Of all that a grid shows."""
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


def _check_out(out: Path | None, useless_for_pictures: Mapping[str, bool]) -> None:
    if out is None or not out.suffix or out.is_dir() or checked_suffix(out) != ".png":
        return
    useless = [name for name, is_given in useless_for_pictures.items() if is_given]
    if useless:
        raise UsageError(f"{out.name} is a picture; leave out {' and '.join(useless)}, or name a .mp4")


def _far_from_trained(size: tuple[int, int], trained: tuple[int, int], fps: float, trained_fps: float) -> list[str]:
    notes = []
    ratio = size[0] * size[1] / (trained[0] * trained[1])
    if not 0.5 <= ratio <= 2:
        notes.append(
            f"the model was trained at {trained[1]}x{trained[0]}; what it makes at {size[1]}x{size[0]} may look wrong"
        )
    if fps != trained_fps:
        notes.append(f"the model was trained at {trained_fps:g} frames a second; motion at {fps:g} may look wrong")
    return notes
