"""``sora caption train --dry-run``: what a training would do, checked and counted without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from soracli.data.caption_pool import CaptionPool, captioned
from soracli.models.captioner import Captioner
from soracli.pipelines.recipes import CaptionTrainRecipe
from soracli.pipelines.train_captioner import check_clips
from soracli.training.device import DTYPES, choose_device


@dataclass(frozen=True, kw_only=True)
class CaptionerPlan:
    """What a training of a captioner would be.

    Attributes:
        parameters: Numbers that it learns.
        model_bytes: Of the weights of the finished model.
        scene_bytes: Of the drawn scenes in the run folder.
        steps: Steps in all.
        batch_sizes: Samples in a step, of each stage.
        clips: Captioned training clips.
        device: Where it would compute.
        out: The run folder.
        resumes: Whether that folder holds a run already, which would go on.
    """

    parameters: int
    model_bytes: int
    scene_bytes: int
    steps: int
    batch_sizes: tuple[int, ...]
    clips: int
    device: str
    out: str
    resumes: bool


def plan_captioner(recipe: CaptionTrainRecipe, *, clips: Path | None, out: Path, device: str = "auto") -> CaptionerPlan:
    """Check what ``train_captioner`` checks before it begins, and count.

    Args:
        recipe: What to train.
        clips: The manifest, if any.
        out: The run folder; it is not touched.
        device: As ``--device``.

    Raises:
        SoraError: For anything that would stop the training at its start.
    """
    check_clips(recipe, clips)
    CaptionPool(recipe.data, recipe.captioner.side, out / "scenes", clips)
    place = choose_device(device)
    with torch.device("meta"):
        captioner = Captioner(recipe.captioner)
    parameters = sum(parameter.numel() for parameter in captioner.parameters())
    scenes = recipe.data.scenes if recipe.data.world_share > 0 else 0
    return CaptionerPlan(
        parameters=parameters,
        model_bytes=parameters * DTYPES[recipe.loop.store].itemsize,
        scene_bytes=scenes * recipe.data.scene_frames * 3 * recipe.captioner.side**2,
        steps=recipe.loop.steps,
        batch_sizes=tuple(stage.batch_size for stage in recipe.data.stages),
        clips=0 if clips is None else len(captioned(clips)[1]),
        device=str(place),
        out=str(out),
        resumes=(out / "run.json").exists(),
    )
