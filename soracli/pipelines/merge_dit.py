"""``sora dit merge``: a model and an adapter trained on it, written as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soracli.core.errors import UsageError, nearest
from soracli.models.adapter import put_adapter
from soracli.models.generator import load_generator, save_dit
from soracli.models.record import part_folder, read_adapter_record, read_record
from soracli.models.store import copy_vae
from soracli.training.device import DTYPES

_STORES = ("float32", "bfloat16")


def merge_dit(model: Path, adapter: Path, out: Path, *, store: str = "float32", overwrite: bool = False) -> Path:
    """Write ``vae/``, ``dit/`` and ``text/`` of a model that computes what ``model`` does with ``adapter``.

    Args:
        model: A model folder or a finished run.
        adapter: An adapter's folder, or the run that trained it.
        out: The folder to make.
        store: What weights are stored in: ``float32``, or ``bfloat16`` for half the size.
        overwrite: Write into a folder that has something in it.

    Returns:
        ``out``.

    Raises:
        UsageError: If something is there already, ``out`` is the model itself, or there is no such type.
        ArtifactError: If a part is missing or damaged, or the adapter was trained on another model.
        MachineError: If it cannot be written.
    """
    if store not in _STORES:
        raise UsageError(f"unknown --store '{store}'; did you mean {nearest(store, _STORES) or _STORES[0]}?")
    tuned = read_adapter_record(adapter, model)
    folder = part_folder(model, "dit")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not out.is_dir() or out.resolve() == folder.parent.resolve():
            raise UsageError(f"{out} is {'the model itself' if out.is_dir() else 'a file'}; name another folder")
        if not overwrite:
            raise UsageError(f"{out} exists and is not empty; name another folder, or --overwrite")
    generator = put_adapter(load_generator(model), model, adapter)
    facts: dict[str, Any] = {name: value for name, value in tuned.items() if name in ("defaults", "trained")}
    facts["merged"] = {"model": read_record(folder, "dit")["hash"], "adapter": tuned["hash"]}
    copy_vae(folder.parent, out / "vae", generator.spec)
    save_dit(
        out,
        generator.dit.state_dict(),
        generator.dit.config,
        generator.text,
        generator.tokenizer,
        generator.spec,
        facts,
        DTYPES[store],
    )
    return out
