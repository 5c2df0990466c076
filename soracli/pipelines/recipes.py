"""The recipes: which sections each command's TOML file has. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from soracli.data.config import (
    CaptionConfig,
    CaptionDataConfig,
    ClipLatentsConfig,
    FramesConfig,
    JudgeDataConfig,
    LatentSamplesConfig,
    VAELossConfig,
    WorldEditsConfig,
    WorldLatentsConfig,
)
from soracli.diffusion.config import DistillConfig, FlowConfig, OrderConfig, SamplingConfig
from soracli.models.config import (
    AdversaryConfig,
    CaptionerConfig,
    DiscriminatorConfig,
    DiTConfig,
    JudgeConfig,
    LoRAConfig,
    PerceptualConfig,
    QuantiserConfig,
    TextEncoderConfig,
    VAEConfig,
)
from soracli.recipe.section import Section
from soracli.training.config import GuardConfig, LoopConfig, OptimiserConfig


class VaeTrainRecipe(Section):
    """A training of the video VAE."""

    kind: Literal["vae.train"] = "vae.train"
    compile: bool = False
    """Compile encoder and decoder: a minute or two at the start of a run, every step after it several times
    faster."""
    train: Literal["all", "decoder"] = "all"
    """decoder: the encoder of --init stays as it is, and with it every latent that was made by it."""
    statistics: Literal["measured", "kept"] = "measured"
    """Mean and deviation by which latents are put on one scale. kept: those of --init, so that a model of its latents
    finds the new ones where it expects them; what trains the decoder alone always keeps them."""
    vae: VAEConfig = VAEConfig()
    quantiser: QuantiserConfig = QuantiserConfig()
    frames: FramesConfig = FramesConfig()
    loss: VAELossConfig = VAELossConfig()
    perceptual: PerceptualConfig = PerceptualConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    discriminator_optimiser: OptimiserConfig = OptimiserConfig(learning_rate=1e-3, weight_decay=0.0, betas=(0.0, 0.99))
    optimiser: OptimiserConfig = OptimiserConfig()
    guard: GuardConfig = GuardConfig()
    loop: LoopConfig = LoopConfig()


class LatentsCacheRecipe(Section):
    """A cache of latents."""

    kind: Literal["latents.cache"] = "latents.cache"
    world: WorldLatentsConfig = WorldLatentsConfig()
    world_edits: WorldEditsConfig = WorldEditsConfig()
    clips: ClipLatentsConfig = ClipLatentsConfig()


class DitTrainRecipe(Section):
    """A training of the diffusion transformer and its text encoder."""

    kind: Literal["dit.train"] = "dit.train"
    compile: bool = False
    """Compile the blocks of the DiT: a minute or two at the start of a run, every step after it faster."""
    accumulate: int = Field(1, ge=1)
    """Parts that a step's batch is walked through in, one after another, for the same update to rounding: more need
    less memory. A part holds at least one sample."""
    shard_ranks: int = Field(1, ge=0)
    """Ranks that hold weights, averages and what the optimiser keeps between them, each some rows of every tensor: that
    memory divides by their number, and blocks travel to be computed. 1: each rank holds all; 0: all ranks there are;
    fewer than all: groups of so many, each with a copy. It must divide the number of ranks."""
    checkpoint_activations: bool = False
    """Keep the inputs of the DiT's blocks alone and compute the rest again on the way back: many times as many tokens
    fit, for a third more work. The gradients are the same."""
    dit: DiTConfig = DiTConfig()
    text: TextEncoderConfig = TextEncoderConfig()
    lora: LoRAConfig = LoRAConfig()
    samples: LatentSamplesConfig = LatentSamplesConfig()
    caption: CaptionConfig = CaptionConfig()
    flow: FlowConfig = FlowConfig()
    order: OrderConfig = OrderConfig()
    sampling: SamplingConfig = SamplingConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    loop: LoopConfig = LoopConfig()

    @model_validator(mode="after")
    def _flow_fits_the_dit(self) -> Self:
        share, has_input = self.flow.self_conditioning, self.dit.self_conditioned
        if (share > 0) != has_input:
            needed = "above 0 (W.A.L.T has 0.9), or dit.self_conditioned = false" if has_input else "0"
            wanted = "" if has_input else ", or dit.self_conditioned = true"
            raise ValueError(f"flow.self_conditioning = {share:g} must be {needed}{wanted}")
        if self.samples.edit_share and not self.dit.edits:
            raise ValueError(f"samples.edit_share = {self.samples.edit_share:g} must be 0, or dit.edits = true")
        if self.flow.dispersive_block > self.dit.depth:
            raise ValueError(
                f"flow.dispersive_block = {self.flow.dispersive_block} is above dit.depth = {self.dit.depth}"
            )
        if self.flow.dispersive and self.samples.batch_size < 2:
            raise ValueError("flow.dispersive compares samples: samples.batch_size must be at least 2")
        return self

    @property
    def teacher_passes(self) -> float:
        """Forward passes over a step's tokens that its targets take, about; of ordinary training none."""
        return 0.0


class DitDistillRecipe(DitTrainRecipe):
    """A training that goes on from a DiT and teaches it to do with few steps, and to be told the guidance scale.

    Sections are those of ``dit.train``. The average of ``loop.ema_decay`` also says what whole steps are taught.
    """

    kind: Literal["dit.distill"] = "dit.distill"  # type: ignore[assignment]
    distill: DistillConfig = DistillConfig()
    sampling: SamplingConfig = SamplingConfig(num_steps=4)

    @model_validator(mode="after")
    def _teaches_whole_steps(self) -> Self:
        for key, value, why in (
            ("samples.token_drop", self.samples.token_drop, "a step is taught on whole pieces"),
            ("flow.self_conditioning", self.flow.self_conditioning, "of few steps there is nothing said before"),
        ):
            if value:
                raise ValueError(f"{key} = {value:g} must be 0: {why}")
        if self.loop.ema_decays:
            raise ValueError(f"loop.ema_decays ({list(self.loop.ema_decays)}) must be empty: one average teaches")
        return self

    @model_validator(mode="after")
    def _samples_what_it_teaches(self) -> Self:
        sampling, taught = self.sampling, self.distill
        if sampling.num_steps <= taught.largest and sampling.num_steps & (sampling.num_steps - 1):
            raise ValueError(
                f"sampling.num_steps = {sampling.num_steps} is not taught: take a power of two, "
                f"or more than distill.largest = {taught.largest}"
            )
        if sampling.sampler != "euler":
            raise ValueError(f"sampling.sampler = {sampling.sampler} must be euler: whole steps are as euler's")
        for key in ("guidance_scale", "later_guidance_scale"):
            scale, most = getattr(sampling, key), getattr(taught, key)
            if not 1 <= scale <= most:
                raise ValueError(f"sampling.{key} = {scale:g} is not taught: distill.{key} folds in 1 to {most:g}")
        return self

    @property
    def teacher_passes(self) -> float:
        """Two for each sample that is taught by them; of guided edits a third."""
        edits = self.samples.edit_share * self.distill.guided
        return 2 * (self.distill.guided + self.distill.stepped) + edits


class JudgeTrainRecipe(Section):
    """A training of the judge of world videos."""

    kind: Literal["judge.train"] = "judge.train"
    compile: bool = False
    """Compile what looks at frames: a minute or two at the start of a run, every step after it faster."""
    judge: JudgeConfig = JudgeConfig()
    data: JudgeDataConfig = JudgeDataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    loop: LoopConfig = LoopConfig()


class CaptionTrainRecipe(Section):
    """A training of the captioner."""

    kind: Literal["caption.train"] = "caption.train"
    compile: bool = False
    """Compile what looks at frames: a minute or two at the start of a run, every step after it faster."""
    contrastive: float = Field(0.3, ge=0, allow_inf_nan=False)
    """Weight of pairing videos with texts, beside writing them: it teaches what ``sora caption eval`` calls agreement.
    """
    captioner: CaptionerConfig = CaptionerConfig()
    data: CaptionDataConfig = CaptionDataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    guard: GuardConfig = GuardConfig()
    loop: LoopConfig = LoopConfig()

    @model_validator(mode="after")
    def _pairs_are_many(self) -> Self:
        smallest = min(stage.batch_size for stage in self.data.stages)
        if self.contrastive and smallest < 2:
            raise ValueError(f"contrastive compares samples: batch_size of stages must be at least 2, got {smallest}")
        return self


RECIPES: dict[str, type[Section]] = {
    "vae.train": VaeTrainRecipe,
    "latents.cache": LatentsCacheRecipe,
    "dit.train": DitTrainRecipe,
    "dit.distill": DitDistillRecipe,
    "judge.train": JudgeTrainRecipe,
    "caption.train": CaptionTrainRecipe,
}
"""Recipe classes by the ``kind`` that a file states."""
