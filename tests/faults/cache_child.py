"""Caching of a few scenes that is killed, or done by two processes at once; started by test_caches.py.

Usage: python -m tests.faults.cache_child FOLDER NAME...; FOLDER holds ``vae``. Prints a line of JSON for each thing
that was done. Whoever caches is a fork, so that torch is imported once.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soracli.data import latents as format_module
from soracli.data.config import WorldLatentsConfig
from soracli.data.latents import has_shard
from soracli.pipelines import cache_latents as pipeline
from soracli.pipelines import world_shards
from soracli.pipelines.cache_latents import cache_latents
from soracli.pipelines.recipes import LatentsCacheRecipe

WORLD = WorldLatentsConfig(videos=3, images=2, seconds=0.3, fps=8, height=16, width=24, captions=2)


def cache(folder: Path, name: str) -> None:
    """Cache into ``FOLDER/NAME``."""
    cache_latents(LatentsCacheRecipe(world=WORLD), vae=folder / "vae", clips=None, out=folder / name, device="cpu")


def shards(folder: Path) -> list[str]:
    """Names of those that count as made."""
    return [path.stem for path in sorted((folder / "shards").glob("*.json")) if has_shard(folder, path.stem)]


def fork(action: Callable[[], object]) -> int:
    """Do it in another process."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return process


def ended(process: int) -> int:
    """Its exit code, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def count_to(moment: int) -> None:
    """Kill this process at its so manyth call of what writes, makes durable, or renames."""
    count = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)

        return wrapped

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)  # type: ignore[assignment]
    format_module.save_file = counted(format_module.save_file)  # type: ignore[attr-defined]


def kill_at_every_moment(folder: Path) -> None:
    """Cache anew for each moment, killed there, and then to the end."""
    whole = folder / "undisturbed" / "shards"
    for moment in range(1, 1000):
        name = f"killed {moment}"
        if ended(fork(lambda moment=moment, name=name: (count_to(moment), cache(folder, name)))) == 0:
            return
        made = shards(folder / name)
        final = [path for path in (folder / name / "shards").glob("*") if not path.name.endswith(".part")]
        half = [path.name for path in final if path.read_bytes() != (whole / path.name).read_bytes()]
        before = {path: path.stat().st_ino for path in final if path.stem in made}
        assert ended(fork(lambda name=name: cache(folder, name))) == 0
        assert all(path.stat().st_ino == number for path, number in before.items())  # kept, not made again
        after = len(shards(folder / name)) - len(made)
        print(json.dumps({"moment": moment, "made_before": len(made), "made_after": after, "half": half}), flush=True)


def together(folder: Path, name: str, kills: bool) -> None:
    """Two at once; the second may be killed while it makes its first shard."""
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    plain = pipeline.write_shard

    def begin(dies: bool) -> int:
        def slow(out: Path, shard: str, *given: Any) -> None:
            os.write(log, f"{shard}\n".encode())
            time.sleep(0.2)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            plain(out, shard, *given)

        pipeline.write_shard = slow  # type: ignore[assignment]
        return fork(lambda: cache(folder, name))

    processes = [begin(False), begin(kills)]
    codes = [ended(process) for process in processes]
    pipeline.write_shard = plain
    made = (folder / f"{name}.log").read_text().split()
    print(json.dumps({"codes": codes, "made": made}), flush=True)


if __name__ == "__main__":
    world_shards._SHARD_VIDEOS, world_shards._SHARD_IMAGES = 2, 1
    place = Path(sys.argv[1])
    for doing in sys.argv[2:]:
        if doing == "killed":
            kill_at_every_moment(place)
        elif doing.startswith("together"):
            together(place, doing, "killed" in doing)
        else:
            print(json.dumps({"code": ended(fork(lambda doing=doing: cache(place, doing)))}), flush=True)
