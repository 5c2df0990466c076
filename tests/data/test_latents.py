"""The cache of latents: what is written is read; names change with content; damage and what is missing are named."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from soracli.core.errors import ArtifactError, DataError, NumericsError
from soracli.core.latent_spec import LatentSpec
from soracli.data.latents import LatentCache, has_shard, shard_name, write_index, write_shard

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


@given(
    one=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=4),
    other=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=4),
)
def test_names_are_equal_when_content_is(one, other):
    assert (shard_name(SPEC, one) == shard_name(SPEC, other)) == (one == other)
    assert shard_name(SPEC, dict(reversed(one.items()))) == shard_name(SPEC, one)


def test_another_vae_or_normalisation_is_another_name():
    specs = [SPEC, replace(SPEC, vae_hash="ac"), replace(SPEC, mean=(0.0, 1.1)), replace(SPEC, std=(1.0, 2.1))]
    assert len({shard_name(spec, {"clips": []}) for spec in specs}) == 4


def test_another_content_is_another_cache(cache):
    """A run goes on with the cache it began with."""
    before = LatentCache(cache).content_hash
    assert LatentCache(cache).content_hash == before
    write_index(cache, SPEC, ["first"], {})
    assert LatentCache(cache).content_hash != before


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
        (lambda cache: save_file({"0": torch.zeros(2, 3, 4, 5)}, shard(cache, "safetensors")), "not what was written"),
        (lambda cache: save_file({"7": torch.zeros(2, 3, 4, 4)}, shard(cache, "safetensors")), "not what was written"),
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


@pytest.mark.row(62)
def test_a_flipped_bit_and_shards_that_changed_places_are_found(cache):
    path = shard(cache, "safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    opened = LatentCache(cache)
    with pytest.raises(ArtifactError, match=r"first.safetensors is missing or damaged \(it is not what was written\)"):
        opened.latents(opened.entries[0])
    path.write_bytes(whole)
    for suffix in ("json", "safetensors"):
        one, other = (cache / "shards" / f"{name}.{suffix}" for name in ("first", "second"))
        one.rename(cache / "aside")
        other.rename(one)
        (cache / "aside").rename(other)
        with pytest.raises(ArtifactError, match=r"first.*it is (not what was written|that of shard 'second')"):
            opened = LatentCache(cache)
            opened.latents(opened.entries[0])


def test_caches_of_before_have_no_hashes(cache):
    """Their records are lists, and are read as ever."""
    record = shard(cache, "json")
    record.write_text(json.dumps(json.loads(record.read_text())["entries"]))
    opened = LatentCache(cache)
    assert opened.latents(opened.entries[0]).shape == (2, 3, 4, 4)
    for tensors in ({"0": torch.zeros(2, 3, 4, 5)}, {"7": torch.zeros(2, 3, 4, 4)}):
        save_file(tensors, shard(cache, "safetensors"))
        opened = LatentCache(cache)
        with pytest.raises(ArtifactError, match="first does not hold what its record says"):
            opened.latents(opened.entries[0])


@pytest.mark.row(44)
def test_latents_that_are_not_finite_are_not_written(tmp_path):
    videos = [torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 1e6)]  # beyond float16
    with pytest.raises(NumericsError, match="latents of b are not finite"):
        write_shard(tmp_path, "first", videos, [record("a"), record("b")])
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.row(45)
def test_numbers_that_are_not_finite_are_refused(cache):
    record = shard(cache, "json")
    record.write_text(json.dumps(json.loads(record.read_text())["entries"]))  # so that no hash tells
    save_file({"0": torch.full((2, 3, 4, 4), torch.nan), "1": torch.zeros(2, 5, 4, 4)}, shard(cache, "safetensors"))
    opened = LatentCache(cache)
    with pytest.raises(DataError, match="latents of a are not finite"):
        opened.latents(opened.entries[0])
    opened.latents(opened.entries[1])


def test_the_index_says_what_it_is(cache):
    index = json.loads((cache / "latents.json").read_text())
    assert index["shards"] == ["first", "second"] and index["spec"] == {
        **SPEC.to_dict(),
        "compression": [4, 8, 8],
        "mean": [0, 1],
        "std": [1, 2],
    }
