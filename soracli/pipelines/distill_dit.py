"""``sora dit distill``: a trained DiT in, out the same that does with few steps and is told the guidance scale.

The loop is that of ``sora dit train``; only the targets of a step are others.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from soracli.core.errors import UsageError
from soracli.core.progress import Reporter
from soracli.diffusion.options import recommended_options
from soracli.models.record import part_folder, read_record
from soracli.pipelines.distill_batch import draw_taught_batch
from soracli.pipelines.plan_dit import DitPlan, plan_dit
from soracli.pipelines.recipes import DitDistillRecipe, DitTrainRecipe
from soracli.pipelines.train_dit import train_dit
from soracli.recipe.load import Loaded


def distill_dit(
    loaded: Loaded[DitDistillRecipe],
    *,
    model: Path,
    latents: Path,
    out: Path,
    fork_of: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Path:
    """Distil a DiT, or go on with a run.

    Source: shortcut models (Frans et al. 2024, arXiv:2410.12557); what is otherwise here is said in
    ``soracli.diffusion.few_steps`` and ``soracli.pipelines.lessons``.

    Args:
        loaded: The recipe and the origin of its values.
        model: A whole model: its DiT and text encoder begin it, its VAE stays in it.
        latents: A cache of that VAE.
        out: The run folder.
        fork_of: A run whose last checkpoint this new one begins with; it stays as it is.
        device: As ``--device``.
        reporter: Who is told.

    Returns:
        ``out``; in ``out/model`` is the whole model.

    Raises:
        Stopped: After a stop on request; everything is saved.
        SoraError: For anything a user can put right.
    """
    check_path(loaded.recipe, model)
    return train_dit(
        Loaded[DitTrainRecipe](loaded.recipe, loaded.origins, loaded.source),
        latents=latents,
        vae=model,
        out=out,
        init=model,
        fork_of=fork_of,
        device=device,
        reporter=reporter,
        draw=partial(draw_taught_batch, distill=loaded.recipe.distill),
    )


def plan_distillation(
    recipe: DitDistillRecipe, *, model: Path, latents: Path, out: Path, device: str = "auto"
) -> DitPlan:
    """Check what ``distill_dit`` checks before it begins, and count; arguments and errors are its."""
    check_path(recipe, model)
    return plan_dit(recipe, latents=latents, vae=model, out=out, init=model, device=device)


def check_path(recipe: DitDistillRecipe, model: Path) -> None:
    """Whether steps would be those that the model's sampler takes, and it can teach what is to be learnt.

    Raises:
        UsageError: If the recipe has another objective or shift than the model was trained with, or edits where it has
            none; names both.
        ArtifactError: If there is no model.
    """
    record = read_record(part_folder(model, "dit"), "dit")
    if recipe.dit.edits and not record["config"].get("edits"):
        raise UsageError(
            f"{model} was not trained to edit, so it cannot teach it: --set dit.edits=false --set samples.edit_share=0"
        )
    found = recommended_options(record.get("defaults", {}))
    values = {"objective": found.objective, "shift": found.shift}
    differing = [f"--set flow.{key}={value}" for key, value in values.items() if getattr(recipe.flow, key) != value]
    if differing:
        raise UsageError(f"the recipe's times are not those {model} was trained with: {' '.join(differing)} would be")
