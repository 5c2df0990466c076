"""How a video is sampled, torch-free: what a person may choose and what a model recommends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

SamplerName = Literal["euler", "heun", "dpmpp_2m"]
"""How steps are taken from noise to data; see ``soracli.diffusion.samplers``."""
ObjectiveName = Literal["flow", "v"]
"""What a model learns to predict; see ``soracli.diffusion.objective``."""

_MANY: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class FewSteps:
    """What a model was taught by ``sora dit distill``: steps that are whole, and guidance by an input.

    Attributes:
        largest: Numbers of steps that were taught: 1, 2, 4 and so on up to this one.
        guidance_scale: Scales from 1 to this are folded in, of blocks without a past.
        later_guidance_scale: The same of blocks that go on with what is there.
        source_guidance_scale: Of edits, the one scale that is folded in.
        folds: Whether guidance is asked for by the input; False: by evaluations side by side, as of any model.
    """

    largest: int
    guidance_scale: float
    later_guidance_scale: float
    source_guidance_scale: float = 1.5
    folds: bool = True

    @property
    def taught(self) -> tuple[int, ...]:
        """Every number of steps that was taught, from 1."""
        return tuple(2**power for power in range(self.largest.bit_length()))


def guidance_input(scale: float) -> float:
    """A guidance scale from 1 on as models with guidance folded in are told it: ``1 - 1 / scale``, in [0, 1)."""
    return 1 - 1 / scale


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a video is sampled.

    Attributes:
        num_steps: Steps from noise to data of each block.
        guidance_scale: Of blocks without a past; 1 is none.
        later_guidance_scale: Of blocks that go on with what is there, which says most of what the prompt says: more
            than they need makes a minute drift. Never above ``guidance_scale``, which it is if None.
        source_guidance_scale: Of edits: how much what is edited counts; 1 is as trained, more keeps more of it.
        guidance_interval: Noise levels that are guided, above the first and up to the second.
        objective: What the model predicts.
        shift: How far times lean towards noise.
        sampler: By name.
        sink: Latent frames remembered from the beginning.
        window: Latent frames remembered from the end.
        first_block: Latent frames of the first block.
        block: Latent frames of every later block.
        context_noise: Level of noise put on a finished block before it is remembered.
        few_steps: What a distilled model was taught; None for any other.
    """

    num_steps: int = 12
    guidance_scale: float = 4.0
    later_guidance_scale: float | None = None
    source_guidance_scale: float = 1.5
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    objective: ObjectiveName = "flow"
    shift: float = 1.5
    sampler: SamplerName = "euler"
    sink: int = 0
    window: int = 8
    first_block: int = 5
    block: int = 4
    context_noise: float = 0.05
    few_steps: FewSteps | None = None

    @property
    def takes_taught_steps(self) -> bool:
        """Whether the number of steps is one that was taught; with any other, steps follow the plain velocity."""
        return self.few_steps is not None and self.num_steps in self.few_steps.taught

    def folds_guidance(self, *, negative_prompt: str, has_source: bool) -> bool:
        """Whether all guidance is asked for by the model's input, so that one evaluation does.

        A negative prompt and scales that were not taught take evaluations side by side.
        """
        few = self.few_steps
        if few is None or not few.folds or negative_prompt.strip():
            return False
        if has_source and self.source_guidance_scale != few.source_guidance_scale:
            return False
        largest = ((False, few.guidance_scale), (True, few.later_guidance_scale))
        return all(1 <= self.guidance_of(has_past) <= most for has_past, most in largest)

    def record(self) -> dict[str, Any]:
        """All of it as JSON values, for files to say how they were made; of ordinary models nothing about few steps."""
        values = {**asdict(self), "guidance_interval": list(self.guidance_interval)}
        if self.few_steps is None:
            del values["few_steps"]
        return values

    def guidance_of(self, has_past: bool) -> float:
        """The guidance scale of a block."""
        if has_past and self.later_guidance_scale is not None:
            return min(self.later_guidance_scale, self.guidance_scale)
        return self.guidance_scale

    def is_guided(self, t: float) -> bool:
        """Whether guidance acts at a noise level.

        Source: Kynkaanniemi et al. 2024 (arXiv:2404.07724, equation 5): the noisiest levels lose variety to it, the
        cleanest nothing. Their sigma is ``t / (1 - t)``.
        """
        low, high = self.guidance_interval
        return low < min(t, 1.0) <= high  # a shifted 1 may be a rounding above


def recommended_options(defaults: Mapping[str, Any]) -> SamplingOptions:
    """What a model recommends over ours; keys that are no options are left out.

    Raises:
        ValueError: If a value is none that the option can have; names it.
    """
    known = SamplingOptions.__dataclass_fields__
    chosen = {name: value for name, value in defaults.items() if name in known}
    if "guidance_interval" in chosen:
        low, high = chosen["guidance_interval"]
        chosen["guidance_interval"] = (float(low), float(high))
    if isinstance(chosen.get("few_steps"), Mapping):
        chosen["few_steps"] = FewSteps(**chosen["few_steps"])
    options = SamplingOptions(**chosen)
    _check(options)
    return options


def _check(options: SamplingOptions) -> None:
    """Whether all values are of their types and in their ranges: a model's record may come from anywhere."""
    few = options.few_steps
    whole: list[tuple[str, object, float, float]] = [
        ("num_steps", options.num_steps, 1, 1000),
        ("sink", options.sink, 0, _MANY),
        ("window", options.window, 0, _MANY),
        ("first_block", options.first_block, 1, _MANY),
        ("block", options.block, 1, _MANY),
        ("few_steps.largest", few.largest if few else 1, 1, 1000),
    ]
    numbers: list[tuple[str, object, float, float]] = [
        ("shift", options.shift, 1e-6, _MANY),
        ("context_noise", options.context_noise, 0, 1),
        *(("guidance_interval", level, 0, 1) for level in options.guidance_interval),
    ]
    for name in ("guidance_scale", "later_guidance_scale", "source_guidance_scale"):
        numbers += [(name, getattr(owner, name), -_MANY, _MANY) for owner in (options, few) if owner is not None]
    for ranges, kinds in ((whole, (int,)), (numbers, (int, float))):
        for name, value, low, high in ranges:
            if value is None and name == "later_guidance_scale":
                continue
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {value!r:.50}")
    for name, names in (("objective", get_args(ObjectiveName)), ("sampler", get_args(SamplerName))):
        if getattr(options, name) not in names:
            raise ValueError(f"{name} must be one of {', '.join(names)}, got {getattr(options, name)!r:.50}")
