"""Recipe sections of data, torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from soracli.recipe.section import Section


class FrameShape(Section):
    """One kind of sample that a VAE learns from; each step takes one kind."""

    num_frames: int = Field(17, ge=1)
    """Frames of a sample: one more than a multiple of the VAE's temporal compression, 1 for pictures."""
    crop: int = Field(64, ge=8)
    """Side of the square that is cut out, pixels: a multiple of the VAE's spatial compression."""
    batch_size: int = Field(8, ge=1)
    """Samples in a step over all ranks."""
    weight: float = Field(1.0, gt=0)
    """How often, against the other shapes of the same step."""
    from_step: int = Field(0, ge=0)
    """First step that may take it."""
    until_step: int = Field(0, ge=0)
    """First step that may not; 0: to the end."""

    def is_due(self, step: int) -> bool:
        """Whether a step may take it."""
        return self.from_step <= step and (self.until_step == 0 or step < self.until_step)


class FramesConfig(Section):
    """Which frames a VAE learns from."""

    shapes: tuple[FrameShape, ...] = (
        FrameShape(num_frames=17, batch_size=8, weight=0.75),
        FrameShape(num_frames=1, batch_size=32, weight=0.25),
    )
    """Lengths and sizes of samples, mixed in one run; those of later steps may be larger."""
    world_share: float = Field(1.0, ge=0, le=1)
    """Share of samples drawn from the built-in world; the rest come from the clips of the manifest."""
    world_scenes: int = Field(2000, ge=1)
    """How many different scenes of the world are shown, again and again with other crops."""
    world_seed: int = Field(1, ge=0)
    """Which world; held-out figures are made on others."""
    height: int = Field(128, ge=8)
    """Rows that a world scene is drawn with, and that clips are scaled to (their shorter side)."""
    width: int = Field(128, ge=8)
    """Columns, likewise."""
    fps: float = Field(12, gt=0, le=120)
    """Frames a second."""
    crop_candidates: int = Field(3, ge=1)
    """Places tried for each crop; the one with the most contrast is taken, so flat sky is not most of the lesson."""
    memory_gib: float = Field(4.0, gt=0)
    """Decoded clips that are kept in memory, at most."""

    @model_validator(mode="after")
    def _always_something(self) -> Self:
        starts = {0, *(shape.until_step for shape in self.shapes)}
        for step in sorted(starts):
            if not any(shape.is_due(step) for shape in self.shapes):
                raise ValueError(f"shapes has none for step {step}: from_step and until_step leave a gap")
        return self

    @property
    def longest(self) -> int:
        """Frames of the longest samples."""
        return max(shape.num_frames for shape in self.shapes)


class WorldShape(Section):
    """One size, length and rate of scenes."""

    seconds: float = Field(4.0, gt=0, le=600)
    """Length of a video."""
    fps: float = Field(12, gt=0, le=120)
    """Frames a second."""
    height: int = Field(128, ge=8)
    """Rows of pixels."""
    width: int = Field(128, ge=8)
    """Columns of pixels."""
    stills: bool = False
    """Each frame cached by itself: keyframes, best at a rate of about 1 a second."""
    weight: float = Field(1.0, gt=0)
    """How many scenes have it, against the other shapes."""


class AltTextConfig(Section):
    """How captions that people put beside pictures on the web differ from descriptions."""

    omission: float = Field(0.5, ge=0, le=1)
    """Share of the facts of a scene that are not said."""
    error: float = Field(0.1, ge=0, le=1)
    """Share of the facts said that are false."""
    noise: float = Field(0.3, ge=0, le=1)
    """Share of texts with words beside them that tell nothing of the scene: file names, offers, where to click."""


class WorldScenesConfig(Section):
    """What is cached of the built-in world."""

    videos: int = Field(1000, ge=0)
    """Scenes cached as videos."""
    images: int = Field(2000, ge=0)
    """Further scenes cached as single pictures."""
    seed: int = Field(11, ge=0)
    """Which world; the VAE's held-out figures and all evaluations are made on others."""
    seconds: float = Field(4.0, gt=0, le=600)
    """Length of a video."""
    fps: float = Field(12, gt=0, le=120)
    """Frames a second."""
    height: int = Field(128, ge=8)
    """Rows of pixels."""
    width: int = Field(128, ge=8)
    """Columns of pixels."""
    stills: bool = False
    """Each frame cached by itself: keyframes, best at a rate of about 1 a second."""
    captions: int = Field(6, ge=1, le=64)
    """Captions written for each scene, half of them short and half long."""
    shapes: tuple[WorldShape, ...] = ()
    """Several sizes, lengths and rates in one cache, the scenes dealt out by weight: a mixed set without a clip of
    one's own. They say ``seconds``, ``fps``, ``height``, ``width`` and ``stills``, which then may not stand outside."""

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        twice = sorted(self.model_fields_set & (WorldShape.model_fields.keys() - {"weight"}))
        if self.shapes and twice:
            key = twice[0]
            raise ValueError(f"shapes says {key} of each shape: set it there, as in shapes = [{{{key} = ...}}]")
        return self


class WorldLatentsConfig(WorldScenesConfig):
    """Scenes of the built-in world to cache, with their captions."""

    tails: bool = False
    """Cut every video once, at random, and cache what follows a second time, as a video of its own: what a video that
    is connected to another runs into."""
    originals: int = Field(0, ge=0, le=64)
    """Further texts for each scene, as if found beside it: the truth made worse by ``alt_text``."""
    alt_text: AltTextConfig = AltTextConfig()


class WorldEditsConfig(WorldScenesConfig):
    """Pairs of scenes to cache, before and after an edit, with the instruction that leads from one to the other."""

    videos: int = Field(0, ge=0)
    """Pairs cached as videos."""
    images: int = Field(0, ge=0)
    """Further pairs cached as single pictures, of edits that one picture shows."""
    seed: int = Field(12, ge=0)
    """Which world; edits are measured on others."""
    seconds: float = Field(4.0, gt=0, le=60)
    """Length of a video; all objects that an edit is not about go the same way so long."""
    captions: int = Field(6, ge=1, le=64)
    """Phrasings of each instruction."""


class ClipLatentsConfig(Section):
    """How the clips of a manifest are read before they are cached."""

    fps: float = Field(12, gt=0, le=120)
    """Frames a second, at most; slower clips keep their own rate."""
    max_pixels: int = Field(128 * 128, ge=64)
    """Frames are scaled to about this many pixels, their aspect kept; sides are rounded to ``side_multiple``."""
    side_multiple: int = Field(32, ge=1)
    """Of the pixels of a side: the VAE's compression times the DiT's patch."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour under transparent parts."""
    tails: bool = False
    """As ``tails`` of the world."""


class LatentSamplesConfig(Section):
    """What the DiT is shown of a cache."""

    batch_size: int = Field(24, ge=1)
    """Samples in a step over all ranks, packed into one sequence a rank; not looked at if ``max_tokens`` is set."""
    max_tokens: int = Field(0, ge=0)
    """Tokens of a sequence, text and clean and noisy copies together: as many whole samples as fit are packed into
    it, and a sample that is longer is left out. 0: ``batch_size`` samples a step, however many tokens they are."""
    sequences: int = Field(1, ge=1)
    """Sequences of ``max_tokens`` in a step over all ranks; each rank takes as many, of about the same work."""
    token_drop: float = Field(0.0, ge=0, le=0.8)
    """Share of the noisy tokens of a sample that are neither shown nor learnt, on average; each sample draws its own
    (NaViT). What is learnt of a sample gets cheaper, and coarser."""
    loss_weights: Literal["token", "sample"] = "token"
    """What weighs the same in the loss of a step: every token that is predicted, or every sample, however long."""
    square: bool = False
    """Show the middle square of everything, as models do that know one aspect only: the twin in an ablation."""
    images_first: int = Field(0, ge=0)
    """Steps at the start that show single pictures only, four times as many as samples later (with ``max_tokens``: as
    many as fit): they teach what words look like at a fraction of the cost."""
    image_share: float = Field(0.4, ge=0, le=1)
    """Share of samples that are single pictures: images, or the first frame of a video."""
    world_share: float = Field(0.75, ge=0, le=1)
    """Share of samples from the world, if the cache holds both it and clips."""
    edit_share: float = Field(0.0, ge=0, le=1)
    """Share of samples that are edits, with what they are an edit of and the instruction: pairs of ``[world_edits]``,
    for a model with ``dit.edits``."""
    cut_share: float = Field(0.0, ge=0, le=1)
    """Share of video samples that run into a video of their own, which is given: those cached with ``tails``."""
    latent_frames: tuple[int, ...] = (5, 13)
    """Lengths of video samples, latent frames; each is drawn as often."""
    middle_share: float = Field(0.35, ge=0, le=1)
    """Share of video samples that are cut out of the middle, with a given past, where the clip is long enough."""


class CaptionConfig(Section):
    """Which of its texts a sample is shown with."""

    synthetic: float = Field(0.95, ge=0, le=1)
    """Share of samples shown with a caption that was written for it (short or long), the rest with the text it came
    with; where it has texts of one kind only, that kind. Source: DALL-E 3 (Betker et al. 2023, section 3.2)."""


class VAELossConfig(Section):
    """What a reconstruction pays for."""

    l1: float = Field(1.0, ge=0)
    """Weight of the absolute error."""
    gradient: float = Field(0.5, ge=0)
    """Weight of the absolute error of differences between neighbouring pixels: keeps edges sharp."""
    kl: float = Field(3e-4, ge=0)
    """Weight of the Kullback-Leibler divergence to a standard normal, a mean over latent numbers."""
    emphasis: float = Field(4.0, ge=0)
    """How much more a pixel counts that differs from its frame's mean colour: 1 + emphasis * distance."""


class JudgeDataConfig(Section):
    """What the judge of world videos learns from: rendered scenes, made worse in the ways generated videos are."""

    world_seed: int = Field(7001, ge=0)
    """Which world; no other training or evaluation uses it."""
    scenes: int = Field(2500, ge=1)
    """Scenes that are drawn once and shown again and again, mirrored or not."""
    batch_size: int = Field(8, ge=1)
    """Clips in a step."""
    blur: float = Field(2.2, ge=0, le=4)
    """Largest standard deviation of a Gaussian blur, pixels."""
    noise: float = Field(0.05, ge=0, le=0.5)
    """Largest standard deviation of added noise, in shares of the range from black to white."""
    colour_shift: float = Field(0.06, ge=0, le=0.5)
    """Largest change of a colour channel's gain and of the brightness, likewise."""
    blocks: float = Field(0.25, ge=0, le=0.5)
    """Coarsest step that the waves of blocks of 8x8 pixels are rounded to, as strong JPEG compression does."""
    faint: float = Field(0.08, ge=0, le=0.5)
    """Strongest detail that is wiped out, in shares of the range from black to white, as autoencoders do."""


class CaptionStage(Section):
    """One kind of sample that a captioner learns from; each step takes one kind of those that are due."""

    num_frames: int = Field(9, ge=1)
    """Frames of a sample; 1 for pictures, of which no motion is told."""
    batch_size: int = Field(16, ge=1)
    """Samples in a step over all ranks."""
    short_share: float = Field(0.0, ge=0, le=1)
    """Share of the world's samples with a short caption, of the subjects; the rest have a long one, of all there is."""
    weight: float = Field(1.0, gt=0)
    """How often, against the other kinds of the same step."""
    from_step: int = Field(0, ge=0)
    """First step that may take it."""
    until_step: int = Field(0, ge=0)
    """First step that may not; 0: to the end."""

    def is_due(self, step: int) -> bool:
        """Whether a step may take it."""
        return self.from_step <= step and (self.until_step == 0 or step < self.until_step)


class CaptionDataConfig(Section):
    """What a captioner learns from: scenes of the world with captions drawn anew each time, and captioned clips."""

    stages: tuple[CaptionStage, ...] = (
        CaptionStage(num_frames=1, batch_size=48, short_share=1.0, until_step=1000),
        CaptionStage(short_share=1.0, until_step=1000),
        CaptionStage(num_frames=1, batch_size=48, weight=0.1, from_step=1000),
        CaptionStage(weight=0.9, from_step=1000),
    )
    """First short captions, of the subjects, then long ones (DALL-E 3, Betker et al. 2023, section 2.1)."""
    world_share: float = Field(1.0, ge=0, le=1)
    """Share of samples from the built-in world; the rest come from the clips of the manifest that have a caption."""
    world_seed: int = Field(9001, ge=0)
    """Which world; held-out figures are made on the next one, ``sora caption eval`` on the one after."""
    scenes: int = Field(4000, ge=1)
    """Scenes that are drawn once and shown again and again, mirrored or not."""
    scene_frames: int = Field(17, ge=1)
    """Frames drawn of each scene; a sample takes every one, every second or so of them."""
    seconds_between: float = Field(0.25, gt=0)
    """Seconds between two of those frames."""
    degrade: float = Field(0.3, ge=0, le=1)
    """How bad frames may get (blur, noise, colour, blocks), in shares of the worst that the judge is trained on."""
    memory_gib: float = Field(2.0, gt=0)
    """Decoded clips that are kept in memory, at most."""

    @model_validator(mode="after")
    def _always_something(self) -> Self:
        for step in sorted({0, *(stage.until_step for stage in self.stages)}):
            if not any(stage.is_due(step) for stage in self.stages):
                raise ValueError(f"stages has none for step {step}: from_step and until_step leave a gap")
        longest = max(stage.num_frames for stage in self.stages)
        if longest > self.scene_frames:
            raise ValueError(f"scene_frames ({self.scene_frames}) is below num_frames of a stage ({longest})")
        return self
