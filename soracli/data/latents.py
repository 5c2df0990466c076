"""Cached latents: shards addressed by content, with the captions and the ``LatentSpec`` beside them.

::

    latents/latents.json             format, LatentSpec, statistics of what is cached
    latents/shards/HASH.safetensors  normalised latents "0", "1", ... each (C, T, H, W), float16; of an edit also
                                     "0.source", what it is an edit of, and of a cut video "0.tail", what follows the
                                     cut, encoded as a video of its own
    latents/shards/HASH.json         a record an entry: what it is, captions, rate, length, SHA-256 of its latents
    latents/lock                     which shards are being made, and by whom: soracli.data.shard_claims

A shard's name is the hash of all that decides its content: the entries, how they were decoded, the VAE and the format.
So a cache is never stale: change anything and it is another shard. A shard under its final name is whole, and caching
the same again makes only what is missing. Latents that changed since, or that lie in another's place, are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError
from soracli.core.files import finish_file, write_json_atomic
from soracli.core.json_text import parse_json
from soracli.core.latent_spec import LatentSpec

FORMAT = 1
Source = Literal["world", "clips", "world_edits"]

_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_LARGEST = 2**31


@dataclass(frozen=True)
class Entry:
    """One cached video or image.

    Attributes:
        shard: Name of its shard.
        number: Its number there.
        source: The world, a manifest, or the world's edits.
        name: Which scene or clip.
        fps: Frames a second.
        shape: ``(C, T, H, W)`` of its latents.
        captions: Texts of the moving picture.
        still_captions: Texts of its first frame.
        paired: Whether there are latents of as many frames and the same size that it is an edit of.
        whole: Whether it is only true of all its frames together.
        originals: Texts it came with, where ``captions`` were written for it; often none.
        still_originals: The same for its first frame.
        stills: Whether each of its latents is a frame encoded by itself.
        tail: Latent frames of its tail: frames after a cut, encoded as a video of their own; 0 if it has none.
        tail_after: Latent frames before the cut.
        sha256: Of all its latents and its place, as ``entry_hash`` gives; empty in a cache that is older than that.
    """

    shard: str
    number: int
    source: Source
    name: str
    fps: float
    shape: tuple[int, int, int, int]
    captions: tuple[str, ...]
    still_captions: tuple[str, ...]
    paired: bool = False
    whole: bool = False
    originals: tuple[str, ...] = ()
    still_originals: tuple[str, ...] = ()
    stills: bool = False
    tail: int = 0
    tail_after: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Tail:
    """What follows a cut.

    Attributes:
        after: Latent frames of the whole video before the cut.
        latents: ``(C, T, H, W)`` of the frames after it, as a video of their own.
    """

    after: int
    latents: Tensor


def shard_name(spec: LatentSpec, description: Mapping[str, Any]) -> str:
    """Name of the shard with this content: 32 hex digits of a SHA-256."""
    text = json.dumps({"format": FORMAT, "spec": spec.to_dict(), **description}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry_hash(shard: str, number: int, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of an entry's latents as they are stored, and of its place, so that files that were exchanged differ.

    Args:
        shard: Name of its shard.
        number: Its number there.
        tensors: Of the shard, by name.
    """
    digest = hashlib.sha256(f"{shard} {number}".encode())
    for values in _own_tensors(number, tensors):
        digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def has_shard(folder: Path, name: str) -> bool:
    """Whether a shard is there, whole."""
    return all((folder / "shards" / f"{name}.{suffix}").is_file() for suffix in ("json", "safetensors"))


def write_shard(
    folder: Path,
    name: str,
    latents: Sequence[Tensor],
    records: Sequence[Mapping[str, Any]],
    sources: Sequence[Tensor] = (),
    tails: Mapping[int, Tail] | None = None,
) -> None:
    """Write a shard; its record comes last, so a shard with a record is whole.

    Args:
        folder: The cache.
        name: Of ``shard_name``.
        latents: Normalised latents ``(C, T, H, W)``.
        records: Of each: ``source``, ``name``, ``fps``, ``captions``, ``still_captions``, ``whole`` and ``stills`` if
            it is, and ``originals`` and ``still_originals`` where there are any.
        sources: What each of them is an edit of, of the same shape; empty if they are no edits.
        tails: Those of some, by number.

    Raises:
        MachineError: If the disk is full or cannot be written.
        ValueError: If a source has another shape than what is made of it.
    """
    path = folder / "shards" / f"{name}.safetensors"
    part = path.with_suffix(".part")
    tensors = {str(number): value for number, value in enumerate(latents)}
    for number, (value, source) in enumerate(zip(latents, sources, strict=True) if sources else ()):
        if value.shape != source.shape:
            raise ValueError(f"latents {tuple(value.shape)} cannot be an edit of {tuple(source.shape)}")
        tensors[f"{number}.source"] = source
    more: dict[int, dict[str, int]] = {}
    for number, tail in (tails or {}).items():
        tensors[f"{number}.tail"] = tail.latents
        more[number] = {"tail": tail.latents.shape[1], "tail_after": tail.after}
    stored = {key: value.half().contiguous() for key, value in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for litter in path.parent.glob(f".{name}.*.part"):  # of a process that was killed while it wrote the record
            litter.unlink(missing_ok=True)
        save_file(stored, part)
        finish_file(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise MachineError(f"cannot write {path}: {error}") from error
    paired = {"paired": True} if sources else {}
    entries = [
        {
            **record,
            **paired,
            **more.get(number, {}),
            "shape": list(value.shape),
            "sha256": entry_hash(name, number, stored),
        }
        for number, (value, record) in enumerate(zip(latents, records, strict=True))
    ]
    write_json_atomic(path.with_suffix(".json"), entries)


def write_index(folder: Path, spec: LatentSpec, shards: Sequence[str], statistics: Mapping[str, Any]) -> None:
    """Write ``latents.json``: which shards make up this cache."""
    record = {"format": FORMAT, "kind": "latents", "spec": spec.to_dict(), "shards": list(shards), **statistics}
    write_json_atomic(folder / "latents.json", record)


class LatentCache:
    """A cache opened for reading; latents are read when asked for."""

    def __init__(self, folder: Path) -> None:
        """Read the index and every shard's record.

        Raises:
            ArtifactError: If the cache is missing, unfinished, damaged or of a newer format.
        """
        path = folder / "latents.json"
        try:
            record = parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactError(
                f"{folder} holds no finished cache: make it with sora latents cache --out {folder}"
            ) from None
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from error
        if not isinstance(record, dict) or record.get("kind") != "latents" or record.get("format") != FORMAT:
            raise ArtifactError(f"{path} is no cache of latents of format {FORMAT}")
        self.folder = folder
        spec, shards = record.get("spec"), record.get("shards")
        if not isinstance(spec, dict) or not isinstance(shards, list):
            raise ArtifactError(f"{path} is damaged: remove it and run sora latents cache again")
        # A name is part of a path.
        if not all(isinstance(name, str) and _SHARD_NAME.fullmatch(name) for name in shards):
            raise ArtifactError(f"{path} is damaged: a shard has an impossible name; run sora latents cache again")
        self.spec = LatentSpec.from_dict(spec)
        self.content_hash = hashlib.sha256(json.dumps(shards).encode()).hexdigest()
        self.entries = tuple(entry for name in shards for entry in self._read_records(name))
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self._sound: set[tuple[str, int]] = set()

    def _read_records(self, name: str) -> list[Entry]:
        path = self.folder / "shards" / f"{name}.json"
        try:
            records = parse_json(path.read_text(encoding="utf-8"))
            return [_entry(name, number, record) for number, record in enumerate(records)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path} is missing or damaged ({error!r}): remove it and run sora latents cache again"
            ) from error

    def latents(self, entry: Entry) -> Tensor:
        """Normalised latents ``(C, T, H, W)`` in float32; a shard that was read stays in memory.

        Raises:
            ArtifactError: If the shard is damaged.
        """
        return self._read(entry, str(entry.number), entry.shape[1])

    def source_latents(self, entry: Entry) -> Tensor:
        """What a paired entry is an edit of, as ``latents``.

        Raises:
            ArtifactError: If the shard is damaged.
        """
        return self._read(entry, f"{entry.number}.source", entry.shape[1])

    def tail_latents(self, entry: Entry) -> Tensor:
        """What follows the cut of an entry with a tail, as ``latents``.

        Raises:
            ArtifactError: If the shard is damaged.
        """
        return self._read(entry, f"{entry.number}.tail", entry.tail)

    def _read(self, entry: Entry, key: str, num_latents: int) -> Tensor:
        shape = (entry.shape[0], num_latents, *entry.shape[2:])
        if entry.shard not in self._tensors:
            path = self.folder / "shards" / f"{entry.shard}.safetensors"
            try:
                with safe_open(path, framework="pt") as file:
                    self._tensors[entry.shard] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise ArtifactError(
                    f"{path} is missing or damaged ({error}): remove it and run sora latents cache again"
                ) from error
        latents = self._tensors[entry.shard].get(key)
        if latents is None or tuple(latents.shape) != shape:
            raise ArtifactError(
                f"{self.folder}: shard {entry.shard} does not hold what its record says: "
                "remove it and run sora latents cache again"
            )
        self._check(entry)
        return latents.float()

    def _check(self, entry: Entry) -> None:
        """Whether an entry is what was cached: once, as it then is in memory.

        Raises:
            ArtifactError: If not, or if it holds numbers that are not finite.
        """
        if (entry.shard, entry.number) in self._sound:
            return
        tensors = self._tensors[entry.shard]
        again = f"remove shards/{entry.shard}.* of {self.folder} and run sora latents cache again"
        if entry.sha256 and entry_hash(entry.shard, entry.number, tensors) != entry.sha256:
            raise ArtifactError(f"latents of {entry.name} have changed since they were cached: {again}")
        if not all(bool(torch.isfinite(values).all()) for values in _own_tensors(entry.number, tensors)):
            raise ArtifactError(f"latents of {entry.name} are not finite: {again}")
        self._sound.add((entry.shard, entry.number))


def _own_tensors(number: int, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """What a shard holds of one entry."""
    return [tensors[key] for key in (f"{number}", f"{number}.source", f"{number}.tail") if key in tensors]


def _entry(shard: str, number: int, record: Mapping[str, Any]) -> Entry:
    """What a shard's record says of one entry.

    Raises:
        ValueError: If its numbers cannot be; a KeyError or TypeError if something else is wrong.
    """
    entry = Entry(
        shard=shard,
        number=number,
        source=record["source"],
        name=record["name"],
        fps=float(record["fps"]),
        shape=tuple(record["shape"]),
        captions=_texts(record["captions"]),
        still_captions=_texts(record["still_captions"]),
        paired=bool(record.get("paired", False)),
        whole=bool(record.get("whole", False)),
        originals=_texts(record.get("originals", [])),
        still_originals=_texts(record.get("still_originals", [])),
        stills=bool(record.get("stills", False)),
        tail=int(record.get("tail", 0)),
        tail_after=int(record.get("tail_after", 0)),
        sha256=str(record.get("sha256", "")),
    )
    if len(entry.shape) != 4 or not all(isinstance(side, int) and 0 < side < _LARGEST for side in entry.shape):
        raise ValueError(f"shape {entry.shape!r:.100}")
    if entry.source not in get_args(Source) or not isinstance(entry.name, str):
        raise ValueError(f"source {entry.source!r:.100}, name {entry.name!r:.100}")
    if not 0 < entry.fps < _LARGEST or not 0 <= entry.tail < _LARGEST or not 0 <= entry.tail_after <= entry.shape[1]:
        raise ValueError(f"fps {entry.fps}, tail {entry.tail} after {entry.tail_after}")
    return entry


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"captions {value!r:.100}")
    return tuple(value)
