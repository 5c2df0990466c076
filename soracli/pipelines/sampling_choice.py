"""What a person may choose of how a model samples, checked before torch is loaded."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from soracli.core.errors import ArtifactError, UsageError, nearest
from soracli.core.latent_spec import LatentSpec
from soracli.core.units import MAX_FPS, MAX_SIDE
from soracli.diffusion.options import SamplerName, SamplingOptions, recommended_options

MAX_STEPS = 1000
MAX_SEED = 2**63 - 1
RECORDED_CHARACTERS = 4000
"""A file's record holds this much of a prompt: it travels as one argument of the encoder."""
_DRAWN_SEEDS = 2**31
_MAX_FRAME_TOKENS = 16384


def check_ranges(seed: int | None, count: int, num_steps: int | None, guidance_scale: float | None) -> None:
    """Whether numbers are such as can be sampled with.

    Raises:
        UsageError: If not; names what can.
    """
    if count < 1:
        raise UsageError(f"--count must be at least 1, got {count}")
    if seed is not None and not 0 <= seed <= MAX_SEED - count + 1:
        raise UsageError(f"--seed must be 0 to {MAX_SEED - count + 1}, got {seed}")
    if num_steps is not None and not 1 <= num_steps <= MAX_STEPS:
        raise UsageError(f"--steps must be 1 to {MAX_STEPS}, got {num_steps}")
    if guidance_scale is not None and not (math.isfinite(guidance_scale) and 0 <= guidance_scale <= 100):
        raise UsageError(f"--guidance-scale must be 0 to 100, got {guidance_scale:g}; 1 is none")


def checked_prompt(prompt: str) -> str:
    """A prompt without blanks around it.

    Raises:
        UsageError: If it is empty, or no text that can be written.
    """
    if not prompt.strip():
        raise UsageError('the prompt is empty; say what to show, as in "a red ball bounces on green grass"')
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the prompt is no valid text: its character {error.start + 1} is not UTF-8") from None
    return prompt.strip()


def draw_seed() -> int:
    """A seed that nobody chose, short enough to be typed again."""
    return secrets.randbelow(_DRAWN_SEEDS)


def check_sampling(guidance_interval: tuple[float, float] | None, sampler: str | None) -> None:
    """Whether there is such a sampler, and noise levels lie between data and noise.

    Raises:
        UsageError: If not; names the nearest.
    """
    if guidance_interval is not None and not 0 <= guidance_interval[0] < guidance_interval[1] <= 1:
        low, high = guidance_interval
        raise UsageError(f"--guidance-interval must be 0 <= LOW < HIGH <= 1, got {low:g}:{high:g}; 0:1 is everywhere")
    names = get_args(SamplerName)
    if sampler is not None and sampler not in names:
        guess = nearest(sampler, names)
        raise UsageError(
            f"unknown sampler '{sampler}'{f'; did you mean {guess}?' if guess else ''} ({', '.join(names)})"
        )


def model_defaults(record: Mapping[str, Any], model: Path) -> Mapping[str, Any]:
    """What a model's record recommends: its rate and size at least.

    Raises:
        ArtifactError: If it does not say them, or something that cannot be.
    """
    defaults = record.get("defaults")
    if not isinstance(defaults, dict) or not {"fps", "size"} <= defaults.keys():
        raise ArtifactError(f"{model} does not say which rate and size it was trained for: train it again")
    try:
        fps, (height, width) = float(defaults["fps"]), defaults["size"]
        if not 0 < fps <= MAX_FPS or not all(
            isinstance(side, int) and 0 < side <= MAX_SIDE for side in (height, width)
        ):
            raise ValueError(f"size {defaults['size']!r:.50} at {fps:g} frames a second")
        recommended_options(defaults)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{model} is damaged: its defaults cannot be: {error}") from error
    return defaults


def patch_size_of(record: Mapping[str, Any], model: Path) -> Sequence[int]:
    """The patch of a DiT's record, ``(t, h, w)``, which is read before the rest of its configuration is looked at.

    Raises:
        ArtifactError: If it has none that can be.
    """
    patch = record["config"].get("patch_size")
    if (
        not isinstance(patch, list)
        or len(patch) != 3
        or not all(isinstance(side, int) and 0 < side < 256 for side in patch)
    ):
        raise ArtifactError(f"{model} is damaged: its patch size is {patch!r:.50}")
    return patch


def sampling_options(defaults: Mapping[str, Any], *, classical_guidance: bool = False, **asked: Any) -> SamplingOptions:
    """The model's recommendations over ours, and what the user asked for over both; None asks for nothing.

    Args:
        defaults: Of ``model_defaults``.
        classical_guidance: Guide a distilled model by evaluations side by side, not by its input.
        asked: Values of ``SamplingOptions`` by name.

    Raises:
        UsageError: If a model is asked for what it was not taught; names what it was.
    """
    chosen = {name: value for name, value in asked.items() if value is not None}
    options = replace(recommended_options(defaults), **chosen)
    few = options.few_steps
    if few is None:
        if classical_guidance:
            raise UsageError(
                "--classical-guidance: this model has no other; leave it out (sora dit distill folds it in)"
            )
        return options
    if options.num_steps <= few.largest:
        if not options.takes_taught_steps:
            raise UsageError(
                f"--steps {options.num_steps}: this model was taught {', '.join(map(str, few.taught))} steps; "
                f"take one of these, or more than {few.largest}"
            )
        if options.sampler != "euler":
            raise UsageError(
                f"--sampler {options.sampler}: steps that were taught are whole, as of euler; "
                f"leave it out, or take more than {few.largest} steps"
            )
    return replace(options, few_steps=replace(few, folds=not classical_guidance))


def fitting_size(
    size: tuple[int, int], spec: LatentSpec, patch_size: Sequence[int], round_size: bool
) -> tuple[int, int]:
    """A size that a model can make: the one asked for, or the nearest.

    Raises:
        UsageError: If it does not fit and is not to be rounded, or is too large; names the nearest, or the largest.
    """
    units = [spec.compression[axis] * patch_size[axis] for axis in (1, 2)]
    near_height, near_width = (max(1, round(side / unit)) * unit for side, unit in zip(size, units, strict=True))
    if size != (near_height, near_width) and not round_size:
        raise UsageError(
            f"--size {size[1]}x{size[0]} does not fit the model: sides must be multiples of {units[1]}x{units[0]}; "
            f"the nearest is {near_width}x{near_height}"
        )
    tokens = near_height // units[0] * (near_width // units[1])
    if tokens > _MAX_FRAME_TOKENS:
        side = math.isqrt(_MAX_FRAME_TOKENS)
        raise UsageError(
            f"--size {size[1]}x{size[0]} is more than this model can hold in memory; "
            f"the largest square is {side * units[1]}x{side * units[0]}"
        )
    return near_height, near_width
