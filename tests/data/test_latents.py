"""The cache of latents: what is written is read; names change with content; damage and what is missing are named."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from soracli.core.errors import ArtifactError
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents import LatentCache, Tail, entry_hash, has_shard, shard_name, write_index, write_shard

SPEC = LatentSpec(channels=2, compression=(4, 8, 8), mean=(0.0, 1.0), std=(1.0, 2.0), vae_hash="ab")


def record(name: str, source: str = "world", fps: float = 12.0) -> dict:
    return {"source": source, "name": name, "fps": fps, "captions": [f"{name} moves"], "still_captions": [name]}


@pytest.fixture
def cache(tmp_path):
    """Two shards: two videos; an image of another size."""
    torch.manual_seed(0)
    videos, image = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)], torch.randn(2, 1, 2, 6)
    write_shard(tmp_path, "first", videos, [record("a"), record("b", fps=8.0)])
    write_shard(tmp_path, "second", [image], [record("c", "clips")])
    write_index(tmp_path, SPEC, ["first", "second"], {"recipe": {}})
    return tmp_path


def test_what_is_written_is_read(cache):
    torch.manual_seed(0)
    expected = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4), torch.randn(2, 1, 2, 6)]
    opened = LatentCache(cache)
    assert opened.spec == SPEC
    assert [(entry.name, entry.fps, entry.source) for entry in opened.entries] == [
        ("a", 12.0, "world"),
        ("b", 8.0, "world"),
        ("c", 12.0, "clips"),
    ]
    assert opened.entries[0].captions == ("a moves",) and opened.entries[0].still_captions == ("a",)
    for entry, latents in zip(opened.entries, expected, strict=True):
        found = opened.latents(entry)
        assert found.dtype == torch.float32 and entry.shape == tuple(latents.shape)
        assert torch.equal(found, latents.half().float())
    assert not list(cache.rglob("*.part"))


@pytest.mark.row(61)
@given(
    one=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=4),
    other=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=4),
)
def test_names_are_equal_when_content_is(one, other):
    assert (shard_name(SPEC, one) == shard_name(SPEC, other)) == (one == other)
    assert shard_name(SPEC, dict(reversed(one.items()))) == shard_name(SPEC, one)


@pytest.mark.row(61)
def test_another_vae_or_normalisation_is_another_name():
    specs = [SPEC, replace(SPEC, vae_hash="ac"), replace(SPEC, mean=(0.0, 1.1)), replace(SPEC, std=(1.0, 2.1))]
    assert len({shard_name(spec, {"clips": []}) for spec in specs}) == 4


def test_another_content_is_another_cache(cache):
    """A run goes on with the cache it began with."""
    before = LatentCache(cache).content_hash
    assert LatentCache(cache).content_hash == before
    write_index(cache, SPEC, ["first"], {})
    assert LatentCache(cache).content_hash != before


@pytest.mark.row(60)
def test_a_shard_without_its_record_or_its_latents_is_not_there(cache):
    assert has_shard(cache, "first") and not has_shard(cache, "third")
    for suffix in ("json", "safetensors"):
        (cache / "shards" / f"{'first' if suffix == 'json' else 'second'}.{suffix}").unlink()
    assert not has_shard(cache, "first") and not has_shard(cache, "second")


def shard(cache, suffix: str):
    return cache / "shards" / f"first.{suffix}"


@pytest.mark.row(62)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda cache: shard(cache, "safetensors").write_bytes(b"0" * 50), "missing or damaged.*remove it"),
        (lambda cache: shard(cache, "safetensors").unlink(), r"first.safetensors is missing or damaged"),
        (lambda cache: shard(cache, "safetensors").write_bytes(shard(cache, "safetensors").read_bytes()[:-9]), "first"),
        (lambda cache: save_file({"0": torch.zeros(2, 3, 4, 5)}, shard(cache, "safetensors")), "first does not hold"),
        (lambda cache: save_file({"7": torch.zeros(2, 3, 4, 4)}, shard(cache, "safetensors")), "first does not hold"),
        (lambda cache: shard(cache, "json").unlink(), r"first.json is missing or damaged"),
        (lambda cache: shard(cache, "json").write_text("[{}]"), r"first.json is missing or damaged"),
        (lambda cache: shard(cache, "json").write_text('["a"]'), r"first.json is missing or damaged"),
        (lambda cache: (cache / "latents.json").unlink(), "holds no finished cache"),
        (lambda cache: (cache / "latents.json").write_text("{"), "cannot be read"),
        (lambda cache: (cache / "latents.json").write_text("[]"), "no cache of latents"),
        (lambda cache: (cache / "latents.json").write_text('{"kind": "latents", "format": 2}'), "no cache of latents"),
        (lambda cache: (cache / "latents.json").write_text('{"kind": "latents", "format": 1}'), "is damaged"),
    ],
)  # fmt: skip
def test_damage_is_named(cache, damage, says):
    damage(cache)
    with pytest.raises(ArtifactError, match=says):
        opened = LatentCache(cache)
        opened.latents(opened.entries[0])


def sign(cache, name: str = "first") -> None:
    """What somebody would do who wants a changed shard to be read: its hashes made right again."""
    path = cache / "shards" / f"{name}.json"
    tensors = load_file(path.with_suffix(".safetensors"))
    records = json.loads(path.read_text())
    path.write_text(json.dumps([{**r, "sha256": entry_hash(name, n, tensors)} for n, r in enumerate(records)]))


def read_all(cache) -> None:
    opened = LatentCache(cache)
    for entry in opened.entries:
        opened.latents(entry)


@pytest.mark.row(45)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused_by_the_name_of_their_clip(cache, value):
    first = torch.zeros(2, 3, 4, 4)
    first[1, 2, 3, 3] = value
    save_file({"0": first.half(), "1": torch.zeros(2, 5, 4, 4).half()}, shard(cache, "safetensors"))
    sign(cache)
    opened = LatentCache(cache)
    with pytest.raises(ArtifactError, match=r"latents of a are not finite: remove shards/first\.\*"):
        opened.latents(opened.entries[0])
    opened.latents(opened.entries[1])


@pytest.mark.row(62)
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_any_flipped_bit_of_latents_is_found(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("flips")
    write_shard(folder, "one", [torch.ones(2, 3, 4, 4)], [record("a")], tails={0: Tail(1, torch.zeros(2, 2, 4, 4))})
    write_index(folder, SPEC, ["one"], {})
    read_all(folder)
    path = folder / "shards" / "one.safetensors"
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    content[header + place % (len(content) - header)] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="latents of a have changed since they were cached: remove shards/one"):
        read_all(folder)
    shutil.rmtree(folder)


@pytest.mark.row(62)
@pytest.mark.parametrize("suffixes", [("safetensors",), ("json",), ("safetensors", "json")])
def test_shards_that_were_exchanged_are_found(tmp_path, suffixes):
    """Of one shape, so that nothing else tells them apart; also when record and latents are exchanged together."""
    for number, name in enumerate(("one", "two")):
        write_shard(tmp_path, name, [torch.full((2, 3, 4, 4), float(number))], [record(name)])
    write_index(tmp_path, SPEC, ["one", "two"], {})
    read_all(tmp_path)
    for suffix in suffixes:
        one, two = (tmp_path / "shards" / f"{name}.{suffix}" for name in ("one", "two"))
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
    with pytest.raises(ArtifactError, match="have changed since they were cached"):
        read_all(tmp_path)


def test_a_cache_that_is_older_than_its_hashes_is_read(cache):
    for name in ("first", "second"):
        path = cache / "shards" / f"{name}.json"
        records = json.loads(path.read_text())
        for one in records:
            del one["sha256"]
        path.write_text(json.dumps(records))
    read_all(cache)
    shard(cache, "safetensors").write_bytes(shard(cache, "safetensors").read_bytes()[:-1] + b"\1")
    read_all(cache)  # nothing says what it was


def test_the_index_says_what_it_is(cache):
    index = json.loads((cache / "latents.json").read_text())
    assert index["shards"] == ["first", "second"] and index["spec"] == {
        **SPEC.to_dict(),
        "compression": [4, 8, 8],
        "mean": [0, 1],
        "std": [1, 2],
    }
