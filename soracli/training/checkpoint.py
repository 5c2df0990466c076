"""Training checkpoints: a folder per step, safetensors and JSON, whole or not there.

::

    checkpoints/step_00000500/
        model.safetensors  ema.safetensors  optimiser.safetensors ...   one file per part
        state.json        whatever is not a tensor
        manifest.json     format, step, and size and SHA-256 of every file; written last

A checkpoint is written to ``step_N.part``, synced, and renamed: what has its final name is whole. It is read only if
every hash agrees, because safetensors (and every other format) loads flipped bytes without a word. Order is by step
number, never by file times. Nothing is ever unpickled. Where ranks hold tensors between them a part is several files,
each with its rows (``soracli.training.checkpoint_slices``); ``soracli.training.shared_checkpoint`` writes those.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import apply_umask, sha256_file, sync_folder
from soracli.core.json_text import parse_json
from soracli.training.checkpoint_slices import Join, files_by_part, is_slice, joined, read_part

FORMAT = 2
"""Newest format that is read: 2 has parts of several files. A checkpoint says the oldest that has what it needs."""
SPARE_BYTES = 2**20
"""Asked for beside the tensors: headers, JSON and the file system's own."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        step: Steps done when it was made.
        path: Its folder.
        parts: Tensors by part (``"model"``) and name.
        state: The JSON values saved beside them.
    """

    step: int
    path: Path
    parts: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class _NewerFormatError(ArtifactError):
    """Not damage: going back to an older checkpoint would throw away work."""


def save_checkpoint(
    folder: Path,
    step: int,
    parts: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write one checkpoint, then remove all but the newest ``keep``. Only rank 0 calls it.

    Args:
        folder: Where checkpoints live; made if its parent is there.
        step: Steps done. A whole checkpoint of this step that is already there is left as it is.
        parts: Tensors by part and name; a part's name is its file's.
        state: JSON values (finite numbers only).
        keep: Complete checkpoints to keep, at least 1.

    Returns:
        The folder of the checkpoint.

    Raises:
        MachineError: If the disk is too full or cannot be written; earlier checkpoints are untouched.
        ValueError: If ``state`` is not JSON.
    """
    state_text = json.dumps(state, allow_nan=False, indent=1)
    tensor_bytes = sum(tensor.nbytes for tensors in parts.values() for tensor in tensors.values())
    need = tensor_bytes + len(state_text.encode()) + SPARE_BYTES
    with failures_named(folder, step, need):
        if begin_checkpoint(folder, step, need):
            files = write_parts(folder, step, parts)
            finish_checkpoint(folder, step, files, state_text, keep)
    return final_folder(folder, step)


def final_folder(folder: Path, step: int) -> Path:
    """Where a checkpoint is once it is whole."""
    return folder / f"step_{step:08d}"


def draft_folder(folder: Path, step: int) -> Path:
    """Where it is until then."""
    return folder / f"step_{step:08d}.part"


def begin_checkpoint(folder: Path, step: int, need: int) -> bool:
    """Make room: clear what unfinished saves left, ask for space, make the draft.

    Args:
        folder: Where checkpoints live; made if its parent is there.
        step: Steps done.
        need: Bytes of the whole checkpoint.

    Returns:
        False if there is a whole checkpoint of this step already, which stays.

    Raises:
        MachineError: If there is too little space.
        OSError: If the system refuses.
    """
    final = final_folder(folder, step)
    folder.mkdir(exist_ok=True)
    for litter in folder.glob("step_*.part"):
        shutil.rmtree(litter)
    if final.exists() and _is_whole(final):
        return False
    free = shutil.disk_usage(folder).free
    if free < need:
        raise MachineError(f"no space for a checkpoint: {_disk_facts(folder, need)}")
    draft_folder(folder, step).mkdir()
    return True


def write_parts(folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Any]]:
    """Write files of a draft and wait until they are on the disk.

    Args:
        folder: As ``begin_checkpoint``.
        step: The same.
        parts: Tensors by the file's name without its ending, and by their own.

    Returns:
        What the manifest says of each file.

    Raises:
        OSError, SafetensorError: If the system refuses.
    """
    entries = {}
    for name, tensors in parts.items():
        file = draft_folder(folder, step) / f"{name}.safetensors"
        save_file(_own_storage(tensors), file)
        apply_umask(file)
        entries[file.name] = _synced(file)
    return entries


def finish_checkpoint(
    folder: Path, step: int, files: Mapping[str, Mapping[str, Any]], state_text: str, keep: int
) -> None:
    """Give a draft whose tensors are written its manifest and its name, then remove all but the newest ``keep``.

    Args:
        folder: As ``begin_checkpoint``.
        step: The same.
        files: Of ``write_parts``, of all who wrote.
        state_text: What is in ``state.json``.
        keep: Complete checkpoints to keep, at least 1.

    Raises:
        OSError: If the system refuses.
    """
    draft, final = draft_folder(folder, step), final_folder(folder, step)
    (draft / "state.json").write_text(state_text, encoding="utf-8")
    files = {**files, "state.json": _synced(draft / "state.json")}
    number = 2 if any(map(is_slice, files)) else 1
    record = {"kind": "sora training checkpoint", "format": number, "step": step, "files": dict(sorted(files.items()))}
    (draft / "manifest.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    _sync(draft / "manifest.json")
    sync_folder(draft)
    if final.exists():
        _remove(final)
    os.rename(draft, final)
    sync_folder(folder)
    _prune(folder, step, keep)


@contextmanager
def failures_named(folder: Path, step: int, need: int, clear: bool = True) -> Iterator[None]:
    """Make what the system refuses while a checkpoint is written an error for people.

    Args:
        folder: As ``begin_checkpoint``.
        step: The same.
        need: The same.
        clear: Whether to remove the draft then.

    Raises:
        MachineError: With what a person needs to decide.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if clear:
            remove_draft(folder, step)
        raise MachineError(f"cannot write a checkpoint ({_reason(error)}): {_disk_facts(folder, need)}") from error


def remove_draft(folder: Path, step: int) -> None:
    """Take an unfinished checkpoint away, as far as that can be done."""
    shutil.rmtree(draft_folder(folder, step), ignore_errors=True)


def load_latest(
    folder: Path,
    note: Callable[[str], None] = lambda text: None,
    device: torch.device | str = "cpu",
    join: Join = joined,
) -> Checkpoint | None:
    """The newest checkpoint whose every byte is as it was written.

    Args:
        folder: Where checkpoints live.
        note: Told, a line each, which damaged checkpoints were skipped and why.
        device: Where the tensors go.
        join: What is read of a tensor that lies in several files: all of it, or some of its rows.

    Returns:
        The checkpoint, or None if there is none at all.

    Raises:
        ArtifactError: If there are checkpoints but all are damaged, or the newest was made by a newer version.
    """
    problems: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path, device, join)
        except _NewerFormatError:
            raise
        except ArtifactError as error:
            problems.append(str(error))
            note(f"skipped a damaged checkpoint: {error}")
    if problems:
        raise ArtifactError(
            f"no checkpoint in {folder} can be used: {'; '.join(problems)}; "
            "restore one, or remove the folder to begin anew"
        )
    return None


def load_checkpoint(path: Path, device: torch.device | str = "cpu", join: Join = joined) -> Checkpoint:
    """Verify and read one checkpoint; arguments as ``load_latest``.

    Raises:
        ArtifactError: Naming the file that is missing, cut, changed or unknown.
        MachineError: If it may not be read.
    """
    try:
        manifest = _read_manifest(path)
        _verify_files(path, manifest)
        state = parse_json((path / "state.json").read_text(encoding="utf-8"))
        parts = {
            name: read_part([path / file for file in files], device, join)
            for name, files in files_by_part(manifest["files"]).items()
        }
    except PermissionError as error:
        raise MachineError(f"cannot read checkpoint {path}: {_reason(error)}") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {_reason(error)}") from error
    return Checkpoint(step=manifest["step"], path=path, parts=parts, state=state)


def list_checkpoints(folder: Path) -> list[Path]:
    """Folders with the final name of a checkpoint, oldest step first; not verified."""
    found = [path for path in folder.glob("step_*") if path.name[5:].isdecimal() and path.is_dir()]
    return sorted(found, key=_step_of)


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put saved weights into a module; never a part of them.

    Args:
        module: A module of the shape that was saved.
        tensors: All its weights and buffers by name.
        what: Named in the error.

    Raises:
        ArtifactError: If names or shapes differ; names up to five. The module is unchanged then.
    """
    wanted = module.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in wanted]
    problems += [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own.shape)}"
        for name, own in wanted.items()
        if name in tensors and tensors[name].shape != own.shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArtifactError(f"{what} does not fit this model: {'; '.join(problems[:5])}{more}")
    module.load_state_dict(dict(tensors))


def _synced(file: Path) -> dict[str, Any]:
    """What the manifest says of a file, which is on the disk then."""
    _sync(file)
    return {"bytes": file.stat().st_size, "sha256": sha256_file(file)}


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        raise ArtifactError(f"{path} has no manifest.json: it was never completed")
    manifest = parse_json(file.read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ArtifactError(f"{file} is damaged")
    if manifest["format"] > FORMAT:
        raise _NewerFormatError(
            f"{path} has format {manifest['format']}, made by a newer sora; this one reads up to {FORMAT}: update sora"
        )
    files = manifest.get("files")
    sound = isinstance(files, dict) and "state.json" in files and all(starmap(_sound_entry, files.items()))
    if not sound or manifest.get("step") != _step_of(path):
        raise ArtifactError(f"{file} is damaged or belongs to another checkpoint")
    return manifest


def _sound_entry(name: str, entry: Any) -> bool:
    """Whether a file's record is complete, and its name stays inside the folder."""
    return name == Path(name).name and isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()


def _verify_files(path: Path, manifest: Mapping[str, Any], hashes: bool = True) -> None:
    for name, entry in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing")
        size = file.stat().st_size
        if size != entry["bytes"]:
            raise ArtifactError(f"{file} has {size} bytes instead of {entry['bytes']}")
        if hashes and sha256_file(file) != entry["sha256"]:
            raise ArtifactError(f"{file} has changed since it was written (SHA-256 differs)")


def _is_whole(path: Path, hashes: bool = True) -> bool:
    try:
        _verify_files(path, _read_manifest(path), hashes)
    except (ArtifactError, OSError, ValueError):
        return False
    return True


def _prune(folder: Path, step: int, keep: int) -> None:
    """Keep the newest complete ones. Later steps than this one were skipped as damaged when the run resumed."""
    for path in list_checkpoints(folder):
        if _step_of(path) > step:
            _remove(path)
    complete = [path for path in list_checkpoints(folder) if _is_whole(path, hashes=False)]
    for path in list_checkpoints(folder):
        if path not in complete[-max(1, keep) :]:
            _remove(path)


def _remove(path: Path) -> None:
    """Take the final name away first, so that a half-removed checkpoint never looks like one."""
    doomed = path.with_name(f"{path.name}.old.part")
    os.rename(path, doomed)
    shutil.rmtree(doomed)


def _own_storage(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors that share no memory (tied weights are written twice), as safetensors wants them."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != own.nbytes:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        result[name] = own
    return result


def _disk_facts(folder: Path, need: int) -> str:
    """What a person needs to decide: where, how much, how much there is, what is safe."""
    kept = [path.name for path in list_checkpoints(folder) if _is_whole(path, hashes=False)]
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    safe = f"{kept[-1]} is kept, " if kept else ""
    return (
        f"need {need / 2**20:.1f} MiB at {folder}, free {free / 2**20:.1f} MiB; "
        f"{safe}free some space (or set loop.keep_checkpoints lower) and run the same command again"
    )


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__


def _step_of(path: Path) -> int:
    return int(path.name[5:])
