"""Speed, counted work and memory of sora's VAEs and of diffusers', at equal input, in one run.

    python benchmarks/vae.py                                    # nano/vae and three rivals: 17 frames of 128x128
    python benchmarks/vae.py --recipe base/vae --rivals wan     # random weights serve: nothing here depends on them
    python benchmarks/vae.py --vae runs/base/vae --dtype bfloat16 --compile --json result.json
    python benchmarks/vae.py --profile                          # where our time goes, by operator

Every VAE encodes the same frames and decodes the latents they gave, whole, once to warm up and then in turns, so what
else a machine does falls on all alike; the figure is the median. Rivals have the sizes that diffusers' classes have by
default, which are those of the weights their teams published (Wan 2.1, CogVideoX, LTX-Video 0.9.0). Work is what
torch.utils.flop_counter counts, two operations for a multiplication with an addition. Memory is the peak of a process
that does nothing else (on a GPU: of what torch holds there); the first column of it is what the weights and torch take.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from soracli.models.store import load_video_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe

RIVALS = {
    "wan": "AutoencoderKLWan",
    "cogvideox": "AutoencoderKLCogVideoX",
    "ltx": "AutoencoderKLLTXVideo",
}
WAYS = ("encode", "decode")
_PROFILED_ROWS = 12


@dataclass(frozen=True)
class Contender:
    """A VAE in the race.

    Attributes:
        name: A recipe, a folder, or a key of ``RIVALS``.
        kind: ``recipe``, ``vae`` or ``rival``.
    """

    name: str
    kind: str


@dataclass
class Figures:
    """What was measured of one VAE; ``encode`` and ``decode`` are the keys of each table.

    Attributes:
        name: Of the contender.
        parameters: Numbers in it.
        frames_per_second: Median over the repeats.
        seconds: Of each repeat.
        gflop_per_frame: Counted.
        peak_bytes: Of a process that goes this way once; ``idle``: that holds the VAE and does nothing.
        finite: Whether all that came out was finite.
    """

    name: str
    parameters: int
    frames_per_second: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    gflop_per_frame: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    finite: bool = True


def build(contender: Contender, given: argparse.Namespace) -> nn.Module:
    """The VAE, ready to compute; weights are random unless a folder was named."""
    torch.manual_seed(0)
    vae: nn.Module
    if contender.kind == "rival":
        import diffusers

        vae = getattr(diffusers, RIVALS[contender.name])()
    elif contender.kind == "vae":
        vae = load_video_vae(Path(contender.name))[0]
    else:
        vae = VideoVAE(load_recipe(VaeTrainRecipe, find_recipe(contender.name), []).recipe.vae)
    # Not their own ``to``, which warns of every change of type.
    return nn.Module.to(vae, given.device, getattr(torch, given.dtype)).eval().requires_grad_(False)


def ways(vae: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Frames to latents and latents to frames, each a function of one tensor."""
    either: Any = vae
    if isinstance(vae, VideoVAE):
        return {"encode": lambda frames: either.encode(frames)[0], "decode": lambda latents: either.decode(latents)[0]}
    return {
        "encode": lambda frames: either.encode(frames).latent_dist.mean,
        "decode": lambda latents: either.decode(latents).sample,
    }


def frames_for(given: argparse.Namespace) -> Tensor:
    """The input of all: noise in [-1, 1], ``(1, 3, T, H, W)``."""
    width, height = (int(side) for side in given.size.split("x"))
    generator = torch.Generator().manual_seed(0)
    frames = 2 * torch.rand(1, 3, given.frames, height, width, generator=generator) - 1
    return frames.to(given.device, getattr(torch, given.dtype))


def count_work(vae: nn.Module, frames: Tensor) -> dict[str, float]:
    """Giga-operations a frame, each way; counted on shapes alone, nothing is computed."""
    shapes = copy.deepcopy(vae).to("meta")
    found, x = {}, frames.to("meta")
    for way, function in ways(shapes).items():
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            x = function(x)
        found[way] = counter.get_total_flops() / frames.shape[2] / 1e9
    return found


@torch.inference_mode()
def race(vaes: dict[str, nn.Module], frames: Tensor, figures: dict[str, Figures], given: argparse.Namespace) -> None:
    """Time all of them in turns."""
    functions = {name: ways(vae) for name, vae in vaes.items()}
    if given.compile:
        functions = {
            name: {way: torch.compile(function) for way, function in both.items()} for name, both in functions.items()
        }
    latents = {}
    for name, both in functions.items():
        latents[name] = both["encode"](frames).clone()
        decoded = both["decode"](latents[name])
        figures[name].finite = bool(latents[name].isfinite().all() and decoded.isfinite().all())
        assert decoded.shape == frames.shape, f"{name} gives {tuple(decoded.shape)} for {tuple(frames.shape)}"
    for _ in range(given.repeats):
        for name, both in functions.items():
            for way, x in (("encode", frames), ("decode", latents[name])):
                figures[name].seconds[way].append(_seconds(both[way], x))
    for found in figures.values():
        found.frames_per_second = {way: frames.shape[2] / statistics.median(found.seconds[way]) for way in WAYS}


def _seconds(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    function(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure_memory(contender: Contender, way: str, arguments: Sequence[str]) -> int:
    """Peak bytes of a process of its own that goes one way, or none (``idle``)."""
    command = [sys.executable, __file__, *arguments, "--child", contender.kind, contender.name, way]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


@torch.inference_mode()
def peak_of(contender: Contender, way: str, given: argparse.Namespace) -> int:
    """What the process measures of itself."""
    vae, x = build(contender, given), frames_for(given)
    if way == "decode":
        # Only the shape is needed: what encoding takes would hide what decoding does.
        x = torch.randn(latent_shape(contender, vae, x), device="cpu").to(x)
    if way in WAYS:
        ways(vae)[way](x)
    if given.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return _peak_bytes()


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss of a child begins with what its parent had when it started it.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def latent_shape(contender: Contender, vae: Any, frames: Tensor) -> list[int]:
    """``(1, C, T', H', W')`` of the latents of these frames."""
    if isinstance(vae, VideoVAE):
        channels, (time_step, rows, columns) = vae.config.latent_channels, vae.config.compression
    else:
        channels = vae.config.get("z_dim") or vae.config.latent_channels
        time_step, rows, columns = (8, 32, 32) if contender.name == "ltx" else (4, 8, 8)
    return [1, channels, 1 + (frames.shape[2] - 1) // time_step, frames.shape[3] // rows, frames.shape[4] // columns]


def profile(vae: nn.Module, frames: Tensor) -> None:
    """Print where time goes, by operator and the shapes it is given."""
    on_gpu, x = frames.is_cuda, frames
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
    with torch.inference_mode():
        for way, function in ways(vae).items():
            function(x)
            with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
                y = function(x)
            print(f"\n{way}: {frames.shape[2]} frames")
            for by_shape in (False, True):
                _print_profile(profiler.key_averages(group_by_input_shape=by_shape), on_gpu, by_shape)
            x = y


def _print_profile(events: Any, on_gpu: bool, by_shape: bool) -> None:
    def taken(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)

    total = sum(map(taken, events)) or 1.0
    print(f"{'ms':>10}{'share':>8}{'calls':>8}  operator{', shapes' if by_shape else ''}")
    for event in sorted(events, key=taken, reverse=True)[:_PROFILED_ROWS]:
        shapes = " ".join("x".join(map(str, shape)) for shape in event.input_shapes if shape) if by_shape else ""
        print(f"{taken(event) / 1e3:>10.2f}{taken(event) / total:>8.1%}{event.count:>8}  {event.key} {shapes}".rstrip())


def show(figures: Sequence[Figures], ours: int, place: str) -> None:
    """Print the table, and each of ours against each rival."""
    print(place)
    print(f"{'':24}{'':>10}{'frames a second':>20}{'GFLOP a frame':>18}{'peak MiB':>24}")
    head = ("parameters", "encode", "decode", "encode", "decode", "idle", "encode", "decode")
    print(f"{'':24}" + "".join(f"{word:>{size}}" for word, size in zip(head, (10, 10, 10, 9, 9, 8, 8, 8), strict=True)))
    for found in figures:
        speed, work, peak = found.frames_per_second, found.gflop_per_frame, found.peak_bytes
        print(
            f"{found.name[-23:]:24}{found.parameters / 1e6:>8.2f} M{speed['encode']:>10.2f}{speed['decode']:>10.2f}"
            f"{work['encode']:>9.3g}{work['decode']:>9.3g}"
            + "".join(f"{peak[way] >> 20:>8}" for way in ("idle", *WAYS))
            + ("" if found.finite else "  (gives numbers that are not finite)")
        )
    for mine in figures[:ours]:
        for rival in figures[ours:]:
            faster = (f"{mine.frames_per_second[way] / rival.frames_per_second[way]:.1f}x" for way in WAYS)
            less = sum(rival.gflop_per_frame.values()) / sum(mine.gflop_per_frame.values())
            print(
                f"{mine.name} against {rival.name}: {' and '.join(faster)} the frames a second (encode and decode), "
                f"1/{less:.1f} of the operations"
            )


def describe_place(given: argparse.Namespace) -> str:
    """Where and how it was measured."""
    if given.device.startswith("cuda"):
        machine = torch.cuda.get_device_name(given.device)
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        machine = f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"
    compiled = ", compiled" if given.compile else ""
    return (
        f"{given.frames} frames of {given.size}, {given.dtype}{compiled}, "
        f"{'profiled once' if given.profile else f'median of {given.repeats}'}; {machine}; torch {torch.__version__}"
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", action="append", default=[], help="of ours, random weights; again for more")
    parser.add_argument("--vae", action="append", default=[], metavar="FOLDER", help="of ours, trained; again for more")
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--frames", type=int, default=17, help="1 + 8 k, so that it fits all")
    parser.add_argument("--size", default="128x128", metavar="WxH", help="multiples of 32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile for all; memory is measured without")
    parser.add_argument(
        "--profile", action="store_true", help="instead of the race: where the first of ours spends time"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    parser.add_argument("--child", nargs=3, metavar=("KIND", "NAME", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if (given.frames - 1) % 8 or any(int(side) % 32 for side in given.size.split("x")):
        parser.error("frames must be 1 + 8 k and sides multiples of 32, so that the input fits all")
    if not given.recipe and not given.vae:
        given.recipe = ["nano/vae"]
    return given


def main(arguments: Sequence[str]) -> int:
    """Race, print, and write what was found."""
    given = parse(arguments)
    torch.set_num_threads(given.threads)
    if given.child:
        kind, name, way = given.child
        print(peak_of(Contender(name, kind), way, given))
        return 0
    ours = [Contender(name, "recipe") for name in given.recipe] + [Contender(name, "vae") for name in given.vae]
    frames = frames_for(given)
    if given.profile:
        print(describe_place(given))
        profile(build(ours[0], given), frames)
        return 0
    contenders = ours + [Contender(name, "rival") for name in given.rivals]
    # First, while this process has nothing of its own in memory.
    peaks = {
        contender.name: {way: measure_memory(contender, way, arguments) for way in ("idle", *WAYS)}
        for contender in contenders
    }
    vaes = {contender.name: build(contender, given) for contender in contenders}
    figures = {
        name: Figures(name, sum(map(torch.numel, vae.parameters())), peak_bytes=peaks[name])
        for name, vae in vaes.items()
    }
    for name, vae in vaes.items():
        figures[name].gflop_per_frame = count_work(vae, frames)
    race(vaes, frames, figures, given)
    place = describe_place(given)
    show(list(figures.values()), len(ours), place)
    if given.json:
        rows = [asdict(found) for found in figures.values()]
        given.json.write_text(json.dumps({"place": place, "vaes": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
