"""What ``--model`` and MODEL arguments name: the weights that come with sora, a folder, or a run."""

from __future__ import annotations

from pathlib import Path

import soracli
from soracli.core.errors import ArtifactError, nearest
from soracli.models.hub import PREFIX, download_vae

SHIPPED = ("nano",)
"""Names of the weights that come with sora."""


def find_model(name: str) -> Path:
    """The folder that a model's name stands for; whether it holds a certain part is for the reader of that part.

    Args:
        name: ``nano``, or the path of a model folder or run; ``./nano`` is a path.

    Raises:
        ArtifactError: If there is no such folder, or this installation has no such weights.
    """
    if name in SHIPPED:
        folder = Path(soracli.__file__).parent / "weights" / name
        if not any(folder.glob("*/config.json")):
            raise ArtifactError(f"this installation has no {name} weights in {folder}; train some: sora vae train")
        return folder
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ArtifactError(f"{name} is a file, not a model; name its folder, a run, or {SHIPPED[0]}")
    beside = [str(folder) for folder in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(name, [*SHIPPED, *beside])
    end = f"did you mean '{near}'?" if near else f"name {', '.join(SHIPPED)}, a model folder or a finished run"
    raise ArtifactError(f"no model '{name}'; {end}")


def find_vae(name: str) -> Path:
    """As ``find_model``, where a VAE is asked for: also ``hf:OWNER/NAME``, which is fetched from the hub.

    Raises:
        ArtifactError: As ``find_model``, and if the hub has no such VAE.
        MachineError: If the hub cannot be reached.
    """
    return download_vae(name) if name.startswith(PREFIX) else find_model(name)


def find_captioner(name: str | None) -> Path:
    """As ``find_model``, where a captioner is asked for; None takes a finished default run, else the shipped one.

    Raises:
        ArtifactError: As ``find_model``, or if there is none of these.
    """
    if name is not None:
        return find_model(name)
    run, shipped = Path("runs/nano/captioner"), Path(soracli.__file__).parent / "weights" / SHIPPED[0]
    for folder in (run / "model" / "captioner", shipped / "captioner"):
        if (folder / "config.json").is_file():
            return folder
    raise ArtifactError(f"{run} holds no captioner: make it with sora caption train, or name another with --model")
