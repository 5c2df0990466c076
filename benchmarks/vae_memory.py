"""Peak memory of encoding and decoding a short and a long video, each in a process of its own.

    python benchmarks/vae_memory.py                                    # the shipped weights, 128x128, 5 s and 60 s
    python benchmarks/vae_memory.py --model DIR --size 1280x720 --chunk-frames 8
    python benchmarks/vae_memory.py --recipe base/vae --runs 3         # random weights: memory does not depend on them

It prints a table, and fails if the long one takes more than 1.05 times the memory of the short one; with --runs, the
median of the long ones and of the short ones. The figures are those of the process that computes (ru_maxrss), which for
a Python with torch are large before anything is computed; the last column leaves that out. ffmpeg's processes beside it
are not counted: their memory is that of a few frames.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg

LIMIT = 1.05


def main() -> int:
    """Measure, print, and say by the exit code whether memory is flat."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano", help="as for sora vae encode")
    parser.add_argument("--recipe", help="random weights of a recipe's sizes instead, such as base/vae")
    parser.add_argument("--size", default="128x128", help="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--seconds", type=int, nargs=2, default=(5, 60), metavar=("SHORT", "LONG"))
    parser.add_argument("--chunk-frames", default="16")
    parser.add_argument("--runs", type=int, default=1, help="of each length")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--child-weights", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_peak_of(given.child)))
        return 0
    if given.child_weights:
        _save_random(*given.child_weights)
        return 0
    rows, flat = [], True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peaks: dict[str, list[list[int]]] = {"encode": [], "decode": []}
        model = given.model if given.recipe is None else str(folder / "model")
        if given.recipe is not None:
            _spawn("--child-weights", given.recipe, model)
        options = ["-y", "--model", model, "--chunk-frames", given.chunk_frames]
        idle = _measure(["vae", "encode", "--help"])
        for seconds in given.seconds:
            video, latents = folder / f"{seconds}.mp4", folder / f"{seconds}.safetensors"
            _draw(video, f"testsrc2=s={given.size}:r={given.fps}:d={seconds}")
            encode = ["vae", "encode", str(video), "-o", str(latents), *options]
            decode = ["vae", "decode", str(latents), "-o", str(folder / f"{seconds}.decoded.mp4"), *options]
            peaks["encode"].append([_measure(encode) for _ in range(given.runs)])
            peaks["decode"].append([_measure(decode) for _ in range(given.runs)])
    for way, (all_short, all_long) in peaks.items():
        short, long = int(statistics.median(all_short)), int(statistics.median(all_long))
        rows.append((way, short, long, long / short, (long - idle) / max(1, short - idle)))
        flat &= long <= LIMIT * short
        if given.runs > 1:
            lists = (", ".join(str(peak >> 20) for peak in peaks) for peaks in (all_short, all_long))
            print(f"{way}: {' | '.join(lists)} MiB")
    print(
        f"{given.recipe or given.model}, {given.size} at {given.fps} fps, {given.chunk_frames} frames at once; "
        f"torch alone {idle >> 20} MiB"
    )
    print(f"{'':8}{given.seconds[0]:>8} s{given.seconds[1]:>8} s{'ratio':>8}{'without torch':>15}")
    for way, short, long, ratio, rest in rows:
        print(f"{way:8}{short >> 20:>6} MiB{long >> 20:>6} MiB{ratio:>8.3f}{rest:>15.3f}")
    return 0 if flat else 1


def _draw(path: Path, source: str) -> None:
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-nostdin", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True)


def _measure(arguments: list[str]) -> int:
    """Bytes of memory that a fresh process takes at most for ``sora`` with these arguments."""
    return int(json.loads(_spawn("--child", *arguments).splitlines()[-1]))


def _spawn(*arguments: str) -> str:
    """What this file prints in a process of its own: the parent never imports torch, so that its memory is nobody's."""
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def _save_random(recipe: str, folder: str) -> None:
    import torch

    from soracli.models.store import save_vae
    from soracli.models.video_vae import VideoVAE
    from soracli.pipelines.recipes import VaeTrainRecipe
    from soracli.recipe.find import find_recipe
    from soracli.recipe.load import load_recipe

    torch.manual_seed(0)
    vae = VideoVAE(load_recipe(VaeTrainRecipe, find_recipe(recipe), []).recipe.vae)
    channels = vae.config.latent_channels
    save_vae(Path(folder) / "vae", vae, torch.zeros(channels), torch.ones(channels), {})


def _peak_of(arguments: list[str]) -> int:
    import torch  # noqa: F401 - also where only help is asked for: what torch itself takes

    from soracli.cli.app import main as sora

    if sora(arguments) != 0:
        raise SystemExit(1)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
