"""Hostile safetensors in every place where they are read: one line with exit code 4, and no memory is spent on them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from soracli.core.errors import ArtifactError
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents import LatentCache, write_index, write_shard
from soracli.data.latents_file import read_latents_record
from soracli.models.store import load_vae, save_vae
from tests.models.tiny import tiny_vae


def put(header: Any, data: bytes = b"\0" * 64) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int = 0, end: int = 64, shape: tuple[int, ...] = (16,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


GOOD = put({"a": tensor()})
HOSTILE = {
    "a header of 2^62 bytes": struct.pack("<Q", 2**62) + GOOD[8:],
    "a header of 2^64 - 1 bytes": struct.pack("<Q", 2**64 - 1) + GOOD[8:],
    "a header that ends early": GOOD[:30],
    "no header": b"",
    "half a length": b"\1\0\0",
    "junk behind the tensors": GOOD + b"junk",
    "missing data": GOOD[:-8],
    "tensors that overlap": put({"a": tensor(), "b": tensor(32, 64, (8,))}),
    "a hole": put({"a": tensor(0, 32, (8,)), "b": tensor(40, 64, (6,))}),
    "a name twice": put(b'{"a": %s, "a": %s}' % ((json.dumps(tensor()).encode(),) * 2)),
    "a shape beyond 64 bits": put({"a": tensor(shape=(2**40, 2**40))}),
    "a shape of 2^60": put({"a": tensor(shape=(2**60,))}),
    "offsets of 2^62": put({"a": tensor(0, 2**62, (2**60,))}),
    "offsets turned round": put({"a": tensor(64, 0)}),
    "offsets below 0": put({"a": tensor(-64, 0)}),
    "an unknown type": put({"a": tensor(dtype="F33")}),
    "a header that is a list": put([1, 2]),
    "a header that is no JSON": put(b"{" * 40),
    "a header nested deeply": put(b"[" * 100_000),
    "metadata that is no text": put({"a": tensor(), "__metadata__": {"a": 3}}),
}


def as_part(content: bytes, folder: Path) -> Callable[[], object]:
    """As the weights of a VAE."""
    save_vae(folder, tiny_vae(), torch.zeros(4), torch.ones(4), {})
    (folder / "model.safetensors").write_bytes(content)
    return lambda: load_vae(folder)


def as_shard(content: bytes, folder: Path) -> Callable[[], object]:
    """As a shard of a cache."""
    spec = LatentSpec(channels=2, compression=(4, 8, 8), mean=(0.0, 1.0), std=(1.0, 2.0), vae_hash="ab")
    about = {"source": "world", "name": "a", "fps": 12.0, "captions": [], "still_captions": []}
    write_shard(folder, "first", [torch.zeros(2, 1, 2, 2)], [about])
    write_index(folder, spec, ["first"], {})
    (folder / "shards" / "first.safetensors").write_bytes(content)

    def read() -> object:
        cache = LatentCache(folder)
        return cache.latents(cache.entries[0])

    return read


def as_file(content: bytes, folder: Path) -> Callable[[], object]:
    """As a file of latents."""
    (folder / "a.safetensors").write_bytes(content)
    return lambda: read_latents_record(folder / "a.safetensors")


@pytest.mark.row(11)
@pytest.mark.parametrize("place", [as_part, as_shard, as_file])
def test_every_one_is_one_line(tmp_path: Path, place: Callable[[bytes, Path], Callable[[], object]]) -> None:
    assert list(load(GOOD)) == ["a"]  # the rest differs from a good file in one thing each
    for name, content in HOSTILE.items():
        with pytest.raises(ArtifactError) as caught:
            place(content, tmp_path)()
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value), name
        assert caught.value.exit_code == 4


@pytest.mark.row(11)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_none_takes_memory(tmp_path: Path, repository: Path) -> None:
    for number, content in enumerate(HOSTILE.values()):
        (tmp_path / f"{number}.safetensors").write_bytes(content)
    script = (
        "import contextlib, resource, sys, torch; from pathlib import Path\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "idle = peak()\n"
        "from soracli.core.errors import ArtifactError\n"
        "from soracli.data.latents_file import read_latents_record\n"
        "from safetensors.torch import load_file; from safetensors import SafetensorError\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    with contextlib.suppress(SafetensorError): load_file(path)\n"
        "    try: read_latents_record(path)\n"
        "    except ArtifactError: continue\n"
        "    raise AssertionError(path)\n"
        "assert peak() - idle < 300, (idle, peak())"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=repository, timeout=120)
