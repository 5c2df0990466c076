"""A training step and a sampling step of our DiT beside diffusers' video transformers, in one run.

    python benchmarks/dit.py                               # 12 x 384, 8 samples of 320 tokens, 32 text tokens, float32
    python benchmarks/dit.py --dtype bfloat16 --compile    # mixed precision; torch.compile of the blocks for all
    python benchmarks/dit.py --rivals wan --json result.json

All have equal width, depth, heads, video tokens, text tokens, number type and optimiser (torch's fused AdamW), and run
in turns, so what else a machine does falls on all alike; figures are medians. ``latte`` is diffusers'
LatteTransformer3DModel with num_layers = depth, which are two blocks each, over space and over time; ``latte-half`` has
half of them, so as many blocks as the others. Utilisation is executed operations a second (torch.utils.flop_counter)
over the rate at which this machine multiplies matrices of the model's own shapes and type, measured in the same turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from soracli.models.config import DiTConfig
from soracli.models.dit import DiT
from soracli.models.tokens import Piece, Sample, pack_tokens

RIVALS = ("wan", "latte", "latte-half")
_CHANNELS, _PATCH, _TEXT_WIDTH = 16, 2, 384
_PIXELS_PER_LATENT = 16


@dataclass
class Figures:
    """What was measured of one model.

    Attributes:
        name: Ours or a rival.
        parameters: Numbers in it.
        seconds: Of each repeat, of ``train`` and ``sample``.
        operations: Executed in one step, likewise.
        rates: Operations a second of matrix products alone, in each turn; ours only.
    """

    name: str
    parameters: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"train": [], "sample": []})
    operations: dict[str, int] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=lambda: {"train": [], "sample": []})


def build_ours(given: argparse.Namespace) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Our DiT with a function that gives its velocities of the batch."""
    config = DiTConfig(hidden_size=given.width, depth=given.depth, num_heads=given.heads, modulation_rank=given.rank)
    model = DiT(config, _CHANNELS, _TEXT_WIDTH).to(given.device)
    latents = torch.randn(given.samples, _CHANNELS, given.frames, given.side, given.side)
    samples = [
        Sample(
            torch.zeros(given.text, dtype=torch.int64),
            (
                Piece(
                    one,
                    torch.arange(given.frames) / 3,
                    torch.arange(given.frames) == 0,
                    torch.full((given.frames,), 0.5),
                    block=1,
                    clean=False,
                ),
            ),
        )
        for one in latents
    ]
    tokens = pack_tokens(samples, config.patch_size, (_PIXELS_PER_LATENT, _PIXELS_PER_LATENT)).to(given.device)
    text = torch.randn(given.samples * given.text, _TEXT_WIDTH, device=given.device)
    if given.compile:
        for block in model.blocks:
            block.compile()
    return model, lambda: model(tokens, text)[0]


def build_rival(name: str, given: argparse.Namespace) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A transformer of diffusers, likewise."""
    import diffusers

    model: Any
    head = given.width // given.heads
    if name == "wan":
        model = diffusers.WanTransformer3DModel(
            patch_size=(1, _PATCH, _PATCH),
            num_attention_heads=given.heads,
            attention_head_dim=head,
            in_channels=_CHANNELS,
            out_channels=_CHANNELS,
            text_dim=_TEXT_WIDTH,
            ffn_dim=4 * given.width,
            num_layers=given.depth,
        )
    else:
        model = diffusers.LatteTransformer3DModel(
            num_attention_heads=given.heads,
            attention_head_dim=head,
            in_channels=_CHANNELS,
            out_channels=_CHANNELS,
            num_layers=given.depth if name == "latte" else given.depth // 2,
            cross_attention_dim=given.width,
            attention_bias=True,
            sample_size=given.side,
            patch_size=_PATCH,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            caption_channels=_TEXT_WIDTH,
            video_length=given.frames,
        )
    model = nn.Module.to(model, given.device)
    if given.compile:
        for layer in (module for part in model.children() if isinstance(part, nn.ModuleList) for module in part):
            layer.compile()
    latents = torch.randn(given.samples, _CHANNELS, given.frames, given.side, given.side, device=given.device)
    text = torch.randn(given.samples, given.text, _TEXT_WIDTH, device=given.device)
    times = torch.full((given.samples,), 500, device=given.device)
    return model, lambda: model(latents, timestep=times, encoder_hidden_states=text, return_dict=False)[0]


def steps(model: nn.Module, run: Callable[[], Tensor], given: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """One training step and one sampling step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def precision() -> AbstractContextManager[object]:
        if given.dtype == "float32":
            return nullcontext()
        return torch.autocast(given.device.partition(":")[0], getattr(torch, given.dtype))

    def train() -> None:
        with precision():
            found = run()
        found.float().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    def sample() -> None:
        with torch.inference_mode(), precision():
            run()

    return {"train": train, "sample": sample}


class Products:
    """The matrix products of a pass, alone: what the machine could do if a model were nothing else."""

    def __init__(self, model: nn.Module, run: Callable[[], Tensor], given: argparse.Namespace) -> None:
        shapes: Counter[tuple[int, int, int]] = Counter()

        def note(layer: nn.Module, arguments: tuple[Tensor, ...], _: object) -> None:
            assert isinstance(layer, nn.Linear)
            shapes[arguments[0].numel() // layer.in_features, layer.in_features, layer.out_features] += 1

        hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, nn.Linear)]
        with torch.inference_mode():
            run()
        for hook in hooks:
            hook.remove()
        dtype = getattr(torch, given.dtype)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, device=given.device).to(dtype)

        self.linear = [
            (count, random(rows, wide), random(out, wide), random(rows, out))
            for (rows, wide, out), count in shapes.items()
        ]
        length, head = given.text + given.frames * (given.side // _PATCH) ** 2, given.width // given.heads
        batch = given.samples * given.heads
        self.attention = (given.depth, random(batch, length, head), random(batch, length, length))

    def operations(self, backward: bool) -> int:
        """Counted, of one pass forward, or forward and backward."""
        once = sum(2 * count * x.numel() * len(w) for count, x, w, _ in self.linear)
        depth, heads, scores = self.attention
        once += depth * 4 * scores.numel() * heads.shape[-1]
        return once * (3 if backward else 1)

    @torch.inference_mode()
    def run(self, backward: bool) -> None:
        """Do them."""
        for count, x, w, y in self.linear:
            for _ in range(count):
                x @ w.T
                if backward:
                    y @ w
                    y.T @ x
        depth, heads, scores = self.attention
        for _ in range(depth * (3 if backward else 1)):
            heads @ heads.transpose(1, 2)
            scores @ heads


def seconds_of(function: Callable[[], object], device: str) -> float:
    """Wall time of one call."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def race(given: argparse.Namespace) -> list[Figures]:
    """Time all in turns."""
    built = {"ours": build_ours(given), **{name: build_rival(name, given) for name in given.rivals}}
    products = Products(*built["ours"], given)
    runs = {name: steps(model, run, given) for name, (model, run) in built.items()}
    figures = {name: Figures(name, sum(map(torch.numel, model.parameters()))) for name, (model, _) in built.items()}
    for name, both in runs.items():
        for way, step in both.items():
            step()  # warm, and compiled
            # counted as written: the counter's hooks would have compiled blocks compiled anew
            with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
                step()
            figures[name].operations[way] = counter.get_total_flops()
    for _ in range(given.repeats):
        for name, both in runs.items():
            for way, step in both.items():
                figures[name].seconds[way].append(seconds_of(step, given.device))
                if name == "ours":
                    backward = way == "train"
                    took = seconds_of(lambda backward=backward: products.run(backward), given.device)  # type: ignore[misc]
                    figures[name].rates[way].append(products.operations(backward) / took)
    return list(figures.values())


def show(figures: Sequence[Figures], given: argparse.Namespace) -> None:
    """Print the table, and ours against each rival."""
    count = given.samples * given.frames * (given.side // _PATCH) ** 2
    print(
        f"{given.depth} x {given.width}, {given.samples} x {count // given.samples} tokens, {given.text} text tokens, "
        f"{given.dtype}{', compiled' if given.compile else ''}, {given.device}, {torch.get_num_threads()} threads, "
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}"
    )
    ours = figures[0]
    for way in ("train", "sample"):
        for found in figures:
            rate = count / statistics.median(found.seconds[way])
            ahead = statistics.median(found.seconds[way]) / statistics.median(ours.seconds[way])
            beside = "" if found is ours else f"   ours is {ahead:.2f} x as fast"
            print(
                f"{way:7} {found.name:11} {found.parameters / 1e6:6.1f} M {rate:9.0f} tokens/s"
                f" {found.operations[way] / 1e9:8.1f} GFLOP{beside}"
            )
        own = statistics.median(ours.rates[way])
        used = ours.operations[way] / statistics.median(ours.seconds[way])
        print(f"{way:7} utilisation {used / own:.1%}: {used / 1e9:.0f} of {own / 1e9:.0f} GFLOP/s in products alone")


def main() -> None:
    """Race and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--rank", type=int, default=DiTConfig().modulation_rank, help="ours: as dit.modulation_rank")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--frames", type=int, default=5, help="latent frames")
    parser.add_argument("--side", type=int, default=16, help="latent rows and columns")
    parser.add_argument("--text", type=int, default=32, help="text tokens a sample")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=RIVALS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    figures = race(given)
    show(figures, given)
    if given.json:
        given.json.write_text(json.dumps([asdict(found) for found in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
