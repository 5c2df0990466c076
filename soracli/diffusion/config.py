"""Recipe sections of diffusion, torch-free."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from soracli.diffusion.options import ObjectiveName, SamplerName
from soracli.recipe.section import Section


class FlowConfig(Section):
    """How noise is mixed in, in training, and what is learnt of it."""

    objective: ObjectiveName = "flow"
    """flow: the velocity of the straight path, at logit-normal times; v: v-prediction, at the times of W.A.L.T's noise
    schedule with zero terminal SNR. W.A.L.T's own has shift = 1."""
    shift: float = Field(1.5, gt=0, le=20)
    """How far times lean towards noise, in training and sampling; 1 is even."""
    copies: int = Field(1, ge=1, le=64)
    """Noisy copies of every block, each with a noise and a level of its own: text and what is already there are read
    once for all of them, so more is learnt of a sample for little more."""
    text_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of samples that see no text: they make classifier-free guidance possible."""
    edit_dropout: float = Field(0.05, ge=0, le=1 / 3)
    """Share of edits that see no instruction, share that see no source, and share that see neither, each: what makes
    guidance of two scales possible. InstructPix2Pix has 0.05; ``text_dropout`` is of other samples."""
    context_noise: float = Field(0.15, ge=0, lt=1)
    """Half of the samples have noise up to this level on what is already there, so that the model forgives its own
    errors over a minute. It is told the level."""
    self_conditioning: float = Field(0.0, ge=0, le=1)
    """Share of steps at which the model looks twice, and the second time sees what it said of the data at first; needs
    ``dit.self_conditioned``. A look more costs a third of a step; W.A.L.T has 0.9."""
    dispersive: float = Field(0.0, ge=0)
    """Weight of the dispersive loss, which pushes samples apart inside the model; 0: none. Its authors have 0.25. The
    samples of one rank are compared: it needs two or more."""
    dispersive_block: int = Field(0, ge=0)
    """Which block of the DiT it looks at the states after, from 1; 0: that at a quarter of the depth."""


class DistillConfig(Section):
    """What is taught so that few steps serve; samples that are taught neither learn as in any training."""

    largest: int = Field(8, ge=1, le=512)
    """Numbers of steps that are taught: 1, 2, 4 and so on up to this one, a power of two. Twice as many steps along the
    guided velocity are what the finest of them is taught by."""
    guided: float = Field(0.25, ge=0, le=1)
    """Share of samples that are taught the guided velocity for a guidance scale that is an input."""
    stepped: float = Field(0.5, ge=0, le=1)
    """Share of samples that are taught whole steps, each by two of half the size."""
    guidance_scale: float = Field(10.0, ge=1, le=100)
    """Guidance scales of blocks without a past are drawn from 1 to this, evenly in their logarithm."""
    later_guidance_scale: float = Field(5.0, ge=1, le=100)
    """The same of blocks that go on with what is there."""
    source_guidance_scale: float = Field(1.5, ge=0, le=100)
    """Of edits: how much what is edited counts, the same for all."""
    unguided: float = Field(0.1, ge=0, le=1)
    """Share of whole steps that are taught at a guidance scale of 1, as guidance by evaluations side by side asks."""

    @model_validator(mode="after")
    def _halves_and_shares(self) -> Self:
        if self.largest & (self.largest - 1):
            raise ValueError(f"largest ({self.largest}) must be a power of two: steps are halved down to it")
        if self.guided + self.stepped > 1:
            raise ValueError(f"guided ({self.guided:g}) and stepped ({self.stepped:g}) are shares of one whole")
        return self


class OrderConfig(Section):
    """In which order the latent frames of a sample are made."""

    first_block: int = Field(5, ge=1)
    """Latent frames of the first block of a video that begins here."""
    block: int = Field(4, ge=1)
    """Latent frames of every later block."""
    forward: float = Field(0.8, ge=0)
    """Weight of samples made from the beginning to the end."""
    animate: float = Field(0.05, ge=0)
    """Weight of samples whose first latent is given."""
    backward: float = Field(0.05, ge=0)
    """Weight of samples whose end is given, made towards the beginning."""
    between: float = Field(0.05, ge=0)
    """Weight of samples whose two ends are given."""
    scattered: float = Field(0.05, ge=0)
    """Weight of samples with given latents anywhere."""


class SamplingConfig(Section):
    """What the finished model is sampled with unless someone asks for something else; it changes no weight."""

    num_steps: int = Field(12, ge=1, le=1000)
    """Steps from noise to data of each block."""
    guidance_scale: float = Field(4.0, ge=0, le=100)
    """How far a block without a past goes from what it would be without a prompt; 1 is none."""
    later_guidance_scale: float = Field(4.0, ge=0, le=100)
    """The same of blocks that go on with what is there; never above ``guidance_scale``."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels that are guided, above the first and up to the second; the others are made without guidance, in half
    the time."""
    sampler: SamplerName = "euler"
    """euler: order 1; heun: order 2 at two evaluations a step; dpmpp_2m: order 2 at one."""
    context_noise: float = Field(0.05, ge=0, lt=1)
    """Level of noise on a finished block before it is remembered; more forgives more, up to ``flow.context_noise``."""
    sink: int = Field(0, ge=0)
    """Latent frames of the beginning that are remembered to the end."""

    @model_validator(mode="after")
    def _interval_has_room(self) -> Self:
        low, high = self.guidance_interval
        if not 0 <= low < high <= 1:
            raise ValueError(
                f"guidance_interval must be two levels, 0 <= low < high <= 1, got {self.guidance_interval}"
            )
        return self
