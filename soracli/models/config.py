"""What the models are made of, torch-free: one frozen section a model."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from soracli.recipe.section import Section

MOST_CODES = 2**24
"""Codebooks are no larger, so that all codes can be counted in memory."""


AdversarialKind = Literal["hinge", "non_saturating"]
"""The losses that discriminator and decoder play against each other with."""


class VAEConfig(Section):
    """The video VAE: widths and depths by level, from pixels inward."""

    latent_channels: int = Field(16, ge=1, le=256)
    """Channels of the latents."""
    patch_size: int = Field(4, ge=1, le=16)
    """Side of the square of pixels that one position of the first level holds."""
    widths: tuple[int, ...] = (64, 128, 192)
    """Channels at each level; every further level halves rows and columns."""
    temporal_strides: tuple[int, ...] = (2, 2)
    """Frames folded into one on the way to each further level, 1 or 2."""
    encoder_blocks: tuple[int, ...] = (1, 1, 2)
    """Residual blocks at each level of the encoder."""
    decoder_blocks: tuple[int, ...] = (2, 2, 3)
    """Residual blocks at each level of the decoder, in the same order as ``widths``."""
    linear_code: bool = False
    """Encoder and decoder improve on a fixed linear code, the principal components of patches of what is trained on,
    found before the first step."""

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        levels = len(self.widths)
        for name, values, expected in (
            ("temporal_strides", self.temporal_strides, levels - 1),
            ("encoder_blocks", self.encoder_blocks, levels),
            ("decoder_blocks", self.decoder_blocks, levels),
        ):
            if len(values) != expected:
                raise ValueError(f"{name} must have {expected} numbers for {levels} widths, got {len(values)}")
        if min(self.widths, default=0) < 1 or min(*self.encoder_blocks, *self.decoder_blocks, 0) < 0:
            raise ValueError("widths must be above 0 and blocks not below 0")
        if max(self.widths) > 65536 or max(*self.encoder_blocks, *self.decoder_blocks) > 1000 or len(self.widths) > 16:
            raise ValueError("widths must be at most 65536 at 16 levels, and blocks at most 1000")
        if not any(self.encoder_blocks) or not any(self.decoder_blocks):
            raise ValueError("encoder_blocks and decoder_blocks need a block each: they are what looks back in time")
        if any(stride not in (1, 2) for stride in self.temporal_strides):
            raise ValueError(f"temporal_strides must be 1 or 2, got {self.temporal_strides}")
        return self

    @property
    def compression(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels per latent."""
        side = self.patch_size * 2 ** (len(self.widths) - 1)
        time = 1
        for stride in self.temporal_strides:
            time *= stride
        return (time, side, side)


class QuantiserConfig(Section):
    """What makes the latents of a video VAE tokens: nothing, or one of two quantisers without a learnt codebook."""

    kind: Literal["none", "fsq", "lfq"] = "none"
    """none: latents are continuous; fsq: each dimension is rounded to one of a few levels; lfq: each is one bit. Codes
    have no divergence from a normal: ``loss.kl`` counts with none only."""
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)
    """fsq: levels of each dimension, 3 to 64; their product is the number of codes (here 64000)."""
    num_bits: int = Field(18, ge=1, le=24)
    """lfq: dimensions of a code, a bit each; there are 2^num_bits codes."""
    entropy: float = Field(0.1, ge=0)
    """lfq: weight of the entropy loss, which wants each position sure of its code and all codes in use, in nats;
    without it a few codes do all the work."""
    commitment: float = Field(0.25, ge=0)
    """lfq: weight of the squared distance between what the encoder gives and the code it becomes."""
    temperature: float = Field(0.1, gt=0)
    """lfq: how soft the entropy loss takes a bit to be, which is 1 with probability sigmoid(4 value / temperature).
    MAGVIT's recipes have 0.01, which learns much slower here: few values are near enough to 0 to get a gradient."""
    group_bits: int = Field(9, ge=1, le=12)
    """lfq: bits whose joint entropy is measured; larger codebooks are taken as groups of so many bits."""

    @model_validator(mode="after")
    def _codes_can_be_counted(self) -> Self:
        if not self.levels or min(self.levels) < 3 or max(self.levels) > 64:
            raise ValueError(f"levels must be 3 to 64 each, got {self.levels}; two levels are kind = 'lfq'")
        if math.prod(self.levels) > MOST_CODES:
            raise ValueError(f"levels {self.levels} make {math.prod(self.levels)} codes, more than {MOST_CODES}")
        return self

    @property
    def code_levels(self) -> tuple[int, ...]:
        """Values that each dimension of a code can have; empty for continuous latents."""
        return {"none": (), "fsq": self.levels, "lfq": (2,) * self.num_bits}[self.kind]


class QuantisedVAEConfig(VAEConfig):
    """A video VAE whose latents are codes; ``latent_channels`` are between encoder and quantiser."""

    quantiser: QuantiserConfig
    """What rounds them."""

    @model_validator(mode="after")
    def _has_codes(self) -> Self:
        if self.quantiser.kind == "none":
            raise ValueError("quantiser.kind is none: that is a continuous VAE")
        return self


def with_quantiser(vae: VAEConfig, quantiser: QuantiserConfig) -> VAEConfig:
    """One configuration of the two sections of a recipe: ``vae`` itself when latents are to be continuous."""
    if quantiser.kind == "none":
        return vae
    return QuantisedVAEConfig(**vae.model_dump(), quantiser=quantiser)


class DiscriminatorConfig(Section):
    """The discriminator that a VAE's decoder is trained against."""

    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels at each level, from pixels inward; every further level halves rows and columns."""
    temporal_strides: tuple[int, ...] = (1, 2, 2)
    """Frames that become one on the way to each further level, 1 or 2."""

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        levels = len(self.widths)
        if min(self.widths, default=0) < 1:
            raise ValueError(f"widths must have a number for each level, all above 0, got {self.widths}")
        if len(self.temporal_strides) != levels - 1:
            raise ValueError(
                f"temporal_strides must have {levels - 1} numbers for {levels} widths, got {len(self.temporal_strides)}"
            )
        if any(stride not in (1, 2) for stride in self.temporal_strides):
            raise ValueError(f"temporal_strides must be 1 or 2, got {self.temporal_strides}")
        return self

    @property
    def compression(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels per logit."""
        side = 2 ** (len(self.widths) - 1)
        return (math.prod(self.temporal_strides), side, side)


class AdversaryConfig(Section):
    """The game of a VAE's decoder against a discriminator."""

    weight: float = Field(0.0, ge=0)
    """Weight of the adversarial loss; 0: no discriminator."""
    adaptive: bool = True
    """Multiply the weight by what makes both losses pull at the decoded frames as hard (VQGAN)."""
    kind: AdversarialKind = "hinge"
    """Which losses the two sides have."""
    start: int = Field(0, ge=0)
    """First step of the game: a decoder that cannot draw yet learns nothing from being told apart."""
    ramp_steps: int = Field(0, ge=0)
    """Steps over which the adversarial loss grows to its weight."""
    lecam: float = Field(0.001, ge=0)
    """Weight of the LeCam regularisation of the discriminator."""
    lecam_decay: float = Field(0.999, ge=0, lt=1)
    """Decay of the averages of logits that it compares with."""
    r1: float = Field(0.0, ge=0)
    """Weight of the R1 penalty on the discriminator's slope at real frames."""
    r1_every: int = Field(16, ge=1)
    """Steps between two of those penalties, each this many times as heavy."""


class PerceptualConfig(Section):
    """The network that says how different two pictures look."""

    network: Literal["off", "efficientnet_lite0", "timm"] = "off"
    """``off``; ``efficientnet_lite0``, whose ImageNet weights a package has; or ``timm``, any network of that library
    whose weights you have."""
    backbone: str = ""
    """With ``timm``: the network's name there, with the tag of its weights if it has one (``vgg16.tv_in1k``)."""
    weights: str = ""
    """With ``timm``: the safetensors file with the network's weights, as timm names them."""
    weight: float = Field(0.005, ge=0)
    """Weight of the distance beside the absolute error; at this one Lite0's pulls about as hard."""
    num_frames: int = Field(0, ge=0)
    """Frames of each clip that are looked at, at most and evenly spread; 0 looks at all."""

    @model_validator(mode="after")
    def _names_and_file_agree(self) -> Self:
        for name, value in (("backbone", self.backbone), ("weights", self.weights)):
            if self.network == "timm" and not value:
                raise ValueError(
                    f'network = "timm" needs {name}: the network\'s name there, and the file with its weights'
                )
            if self.network != "timm" and value:
                raise ValueError(f'{name} = "{value}" is for network = "timm", not "{self.network}"')
        return self


class JudgeConfig(Section):
    """The judge that says what a world video shows: how it looks, its sizes, its words, and the world's camera."""

    side: int = Field(128, ge=32, multiple_of=16)
    """Rows and columns that frames are scaled to before they are looked at."""
    num_frames: int = Field(17, ge=4)
    """Frames that are looked at."""
    seconds_between: float = Field(0.25, gt=0)
    """Seconds between two of those frames."""
    widths: tuple[int, int, int] = (24, 48, 64)
    """Channels at a quarter, an eighth and a sixteenth of the side."""
    scene_width: int = Field(64, ge=8, le=65536)
    """Channels of what is known about each whole frame."""
    track_width: int = Field(48, ge=8, le=65536)
    """Channels of what is known about one object at each frame."""
    colours: tuple[str, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
    """Words for colours, in the order of the outputs."""
    shapes: tuple[str, ...] = ("ball", "cube", "cone")
    """Words for shapes."""
    sizes: tuple[str, ...] = ("small", "large")
    """Words for sizes."""
    motions: tuple[str, ...] = ("rest", "left", "right", "towards", "away", "bounce", "fall")
    """Words for motions, as an object has them at first."""
    grounds: tuple[str, ...] = ("grass", "sand", "snow", "stone")
    """Words for grounds."""
    cameras: tuple[str, ...] = ("still", "orbit left", "orbit right", "pan left", "pan right", "move in")
    """Words for camera moves."""
    camera_distance: float = Field(6.4, gt=0)
    """Units from the world's camera to the middle of the arena at first."""
    camera_elevation: float = Field(0.34, gt=0, lt=1.5)
    """Radians that the camera stands above the ground."""
    camera_target: float = 0.75
    """Height the camera looks at, units."""
    camera_field: float = Field(0.36, gt=0)
    """Tangent of half the angle of view."""


class TextEncoderConfig(Section):
    """The text encoder that is trained with the DiT, and one beside it that is not trained, if any."""

    vocabulary_size: int = Field(2048, ge=300, le=65536)
    """Pieces of text known at most; the 256 bytes are always among them, so any text can be written."""
    hidden_size: int = Field(256, ge=8, le=65536)
    """Width of its states; the DiT projects them to its own."""
    depth: int = Field(1, ge=0, le=1000)
    """Transformer blocks."""
    num_heads: int = Field(4, ge=1)
    """Attention heads."""
    mlp_ratio: float = Field(2.0, gt=0, le=64)
    """Width of the feed-forward layers over ``hidden_size``."""
    max_tokens: int = Field(96, ge=8, le=65536)
    """Longer texts are cut here, in the tokens of each encoder."""
    frozen: Literal["none", "minilm", "transformers"] = "none"
    """A pretrained encoder whose token states the DiT sees too, projected to ``hidden_size``: ``none``; ``minilm``,
    all-MiniLM-L6-v2, whose weights a package has; or ``transformers``, a T5, CLIP or other text encoder that this
    library reads."""
    frozen_model: str = ""
    """With ``transformers``: a folder with its ``config.json``, ``tokenizer.json`` and safetensors, or
    ``hf:OWNER/NAME``, which is fetched from the hub."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size ({self.hidden_size}) must be divisible by 2 num_heads ({self.num_heads})")
        return self

    @model_validator(mode="after")
    def _frozen_and_model_agree(self) -> Self:
        if self.frozen == "transformers" and not self.frozen_model:
            raise ValueError('frozen = "transformers" needs frozen_model: a folder, or hf:OWNER/NAME')
        if self.frozen != "transformers" and self.frozen_model:
            raise ValueError(
                f'frozen_model = "{self.frozen_model}" is for frozen = "transformers", not "{self.frozen}"'
            )
        return self


class LoRAConfig(Section):
    """What of a model learns when it is adapted instead of trained whole (LoRA)."""

    rank: int = Field(0, ge=0)
    """Rank of what is added to each adapted matrix; 0: no adapter, everything learns."""
    alpha: float = Field(16.0, gt=0, allow_inf_nan=False)
    """What is added is multiplied with ``alpha / rank``, so that another rank needs no other learning rate."""
    layers: tuple[str, ...] = Field(("dit.blocks.*.attention.*", "dit.blocks.*.mlp.*"), min_length=1)
    """Patterns of linear layers that get an adapter, such as ``dit.blocks.0.mlp.up`` or ``text.blocks.0.mlp.up``."""
    whole: tuple[str, ...] = ()
    """Patterns of weights that learn whole beside the adapters, as ``dit.final.*`` or ``text.*``."""

    @model_validator(mode="after")
    def _adapts(self) -> Self:
        if self.whole and not self.rank:
            raise ValueError(f"whole ({list(self.whole)}) is for weights beside adapters, and rank is 0")
        return self


class DiTConfig(Section):
    """The diffusion transformer."""

    hidden_size: int = Field(256, ge=8, le=65536)
    """Width of a token."""
    depth: int = Field(7, ge=1, le=1000)
    """Transformer blocks."""
    num_heads: int = Field(4, ge=1)
    """Attention heads; each needs an even width of at least 6."""
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    """Width of the feed-forward layers over ``hidden_size``."""
    patch_size: tuple[int, int, int] = (1, 2, 2)
    """Latents in a token (time, rows, columns); time is 1, because every latent frame has its own noise level."""
    modulation_rank: int = Field(32, ge=0, le=65536)
    """0: each block has its own full modulation (DiT's AdaLN-Zero); r: a shared one plus rank r (W.A.L.T's LoRA)."""
    block: Literal["adaln", "diffit"] = "adaln"
    """How a block hears of the noise level: ``adaln``, by scales, shifts and gates (DiT); ``diffit``, by what is added
    to queries, keys and values (DiffiT's time-dependent self-attention)."""
    text: Literal["joint", "cross"] = "joint"
    """How the text is seen: as tokens of the same sequence, or by a cross-attention of its own in every block."""
    attention: Literal["full", "windows"] = "full"
    """``full``: each token sees all it may see; ``windows``: those of its own latent frame in every other block, those
    of its own window in all latent frames in the rest (W.A.L.T), and always the text."""
    window_size: tuple[int, int] = (8, 8)
    """With ``attention = "windows"``: rows and columns of tokens in a window, at most; a frame is divided evenly."""
    qk_norm: bool = True
    """Normalise queries and keys; without, as DiT, training at high rates is less stable."""
    gelu: Literal["exact", "tanh"] = "exact"
    """The feed-forward layers' GELU; ``tanh`` is DiT's approximation, several times slower on CPUs."""
    self_conditioned: bool = False
    """Whether there is an input for what the model itself said last of the data (``flow.self_conditioning``)."""
    edits: bool = False
    """Whether there is an input for a video that the one being made is an edit of (``samples.edit_share``)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.window_size) < 1:
            raise ValueError(f"window_size must be at least (1, 1), got {self.window_size}")
        head = self.hidden_size // self.num_heads
        if self.hidden_size % self.num_heads or head % 2 or head < 6:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) over num_heads ({self.num_heads}) must be an even number from 6 on"
            )
        if self.patch_size[0] != 1 or min(self.patch_size) < 1:
            raise ValueError(f"patch_size must be (1, rows, columns), got {self.patch_size}")
        return self


class CaptionerConfig(Section):
    """The captioner: what looks at frames, what reads the video, and what reads and writes text."""

    side: int = Field(96, ge=16, multiple_of=16)
    """Rows and columns that frames are fitted into before they are looked at."""
    num_frames: int = Field(9, ge=1)
    """Frames of a clip that are looked at, evenly from its first to its last."""
    widths: tuple[int, int, int] = (32, 64, 128)
    """Channels at a quarter, an eighth and a sixteenth of the side."""
    blocks: tuple[int, int, int] = (1, 2, 2)
    """Residual blocks there."""
    hidden_size: int = Field(144, ge=8, le=65536)
    """Width of the tokens of video and of text."""
    num_heads: int = Field(4, ge=1)
    """Attention heads."""
    mlp_ratio: float = Field(2.0, gt=0, le=64)
    """Width of the feed-forward layers over ``hidden_size``."""
    video_depth: int = Field(4, ge=1, le=1000)
    """Blocks over all tokens of the video."""
    read_depth: int = Field(2, ge=1, le=1000)
    """Blocks over text alone; what they make of a whole text is compared with the video."""
    write_depth: int = Field(2, ge=1, le=1000)
    """Blocks after them, which see the video too and say what word is next."""
    embedding_size: int = Field(64, ge=2, le=65536)
    """Numbers in which video and text are compared."""
    vocabulary_size: int = Field(1024, ge=300, le=65536)
    """Pieces of text known at most; the 256 bytes are always among them, so any text can be written."""
    max_tokens: int = Field(80, ge=8, le=65536)
    """Longest caption."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.hidden_size % (2 * self.num_heads) or self.hidden_size < 6 * self.num_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be an even number, from 6 on, of times num_heads "
                f"({self.num_heads})"
            )
        if min(self.widths) < 1 or min(self.blocks) < 0:
            raise ValueError("widths must be above 0 and blocks not below 0")
        return self
