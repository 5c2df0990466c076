"""Peak memory of encoding and decoding a short and a long video, each in a process of its own.

    python benchmarks/vae_memory.py                                    # the shipped weights, 128x128, 5 s and 60 s
    python benchmarks/vae_memory.py --model DIR --size 1280x720 --chunk-frames 8

It prints a table, and fails if the long one takes more than 1.05 times the memory of the short one. The figures are
those of the process that computes (ru_maxrss), which for a Python with torch are large before anything is computed;
the last column leaves that out. ffmpeg's processes beside it are not counted: their memory is that of a few frames.
"""

from __future__ import annotations

import argparse
import json
import resource
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
    parser.add_argument("--size", default="128x128", help="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--seconds", type=int, nargs=2, default=(5, 60), metavar=("SHORT", "LONG"))
    parser.add_argument("--chunk-frames", default="16")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_peak_of(given.child)))
        return 0
    rows, flat = [], True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peaks: dict[str, list[int]] = {"encode": [], "decode": []}
        options = ["--model", given.model, "--chunk-frames", given.chunk_frames]
        idle = _measure(["vae", "encode", "--help"])
        for seconds in given.seconds:
            video, latents = folder / f"{seconds}.mp4", folder / f"{seconds}.safetensors"
            _draw(video, f"testsrc2=s={given.size}:r={given.fps}:d={seconds}")
            peaks["encode"].append(_measure(["vae", "encode", str(video), "-o", str(latents), *options]))
            decoded = folder / f"{seconds}.decoded.mp4"
            peaks["decode"].append(_measure(["vae", "decode", str(latents), "-o", str(decoded), *options]))
    for way, (short, long) in peaks.items():
        rows.append((way, short, long, long / short, (long - idle) / max(1, short - idle)))
        flat &= long <= LIMIT * short
    print(
        f"{given.model}, {given.size} at {given.fps} fps, {given.chunk_frames} frames at once; "
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
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def _peak_of(arguments: list[str]) -> int:
    import torch  # noqa: F401 - also where only help is asked for: what torch itself takes

    from soracli.cli.app import main as sora

    if sora(arguments) != 0:
        raise SystemExit(1)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
