"""What a training of a DiT begins from, and whether its parts fit each other."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from soracli.core.errors import ArtifactError, UsageError
from soracli.data.latent_samples import shown_size
from soracli.data.latents import LatentCache
from soracli.models.generator import Generator, load_generator
from soracli.models.store import load_vae
from soracli.models.text_frozen import FrozenText, pair_tokenizers
from soracli.models.tokenizer import PairedTokenizer, train_tokenizer
from soracli.pipelines.dit_step import DiTWithText
from soracli.pipelines.recipes import DitTrainRecipe


def learn_tokenizer(
    cache: LatentCache, recipe: DitTrainRecipe, frozen: FrozenText | None = None
) -> Tokenizer | PairedTokenizer:
    """The tokens of all captions of a cache, the same for the same cache, and those of a frozen text encoder."""
    captions = (
        caption
        for entry in cache.entries
        for caption in (*entry.captions, *entry.still_captions, *entry.originals, *entry.still_originals)
    )
    return pair_tokenizers(train_tokenizer(captions, recipe.text.vocabulary_size), frozen, recipe.text)


_ADDED = ("edits",)
"""Inputs of a DiT that a model without them can be given: they begin at 0 and change nothing until they have learnt."""


def load_start(
    init: Path | None, cache: LatentCache, recipe: DitTrainRecipe, frozen: FrozenText | None = None
) -> Generator | None:
    """The model that a training begins from, if any; ``frozen`` is what the recipe names.

    Raises:
        UsageError: If the recipe builds another model, but for inputs that it adds; names the keys and both values.
        ArtifactError: If it cannot be read, or makes latents with another number of channels.
    """
    if init is None:
        return None
    start = load_generator(init, frozen=frozen)
    for section, wanted, found in (("dit", recipe.dit, start.dit.config), ("text", recipe.text, start.text.config)):
        # A frozen encoder may lie elsewhere now: what counts is its hash, which was checked.
        elsewhere = {"frozen_model"} if start.text.frozen is frozen else set()
        differing = [key for key, value in found.model_dump(exclude=elsewhere).items() if getattr(wanted, key) != value]
        if not recipe.lora.rank:  # an adapter is of the model as it is
            differing = [key for key in differing if not (key in _ADDED and getattr(wanted, key))]
        if differing:
            changes = " ".join(f"--set {section}.{key}={getattr(found, key)}" for key in differing)
            raise UsageError(f"the recipe builds another model than {init} is: {changes} would build that")
    if start.spec.channels != cache.spec.channels:
        raise ArtifactError(
            f"{init} makes latents of {start.spec.channels} channels, but {cache.folder} has {cache.spec.channels}"
        )
    return start


def begin_from(model: DiTWithText, start: Generator) -> None:
    """Take over the weights of ``load_start``; inputs that it has not stay as they begin."""
    model.load_state_dict({**model.state_dict(), **DiTWithText(start.dit, start.text).state_dict()})


def check_vae(cache: LatentCache, vae: Path) -> None:
    """Whether the cache was made with this VAE.

    Raises:
        ArtifactError: If not; names both.
    """
    _, spec = load_vae(vae)
    if spec != cache.spec:
        raise ArtifactError(
            f"{cache.folder} was cached with VAE {cache.spec.vae_hash[:12]}, but {vae} is {spec.vae_hash[:12]}: "
            "name the VAE it was made with, or cache the clips with this one"
        )


def check_patch(cache: LatentCache, recipe: DitTrainRecipe) -> None:
    """Whether everything cached divides into patches; before anything is built.

    Raises:
        UsageError: If not; names the first that does not.
    """
    _, rows, columns = recipe.dit.patch_size
    for entry in cache.entries:
        height, width = shown_size(entry.shape, recipe.samples)
        if height % rows or width % columns:
            raise UsageError(
                f"dit.patch_size = {list(recipe.dit.patch_size)} does not divide the {height}x{width} "
                f"latents (rows, columns) of {entry.name} in {cache.folder}: take smaller patches, or cache other sizes"
            )
