"""Edits from the world to a training step: cached against encoding here, counted against drawn, begun from a model."""

from dataclasses import replace

import pytest
import torch

from soracli.core.errors import DataError, RecipeError, UsageError
from soracli.data.config import LatentSamplesConfig, WorldEditsConfig, WorldLatentsConfig
from soracli.data.latent_samples import LatentSample, LatentSampler
from soracli.data.latents import LatentCache, write_index, write_shard
from soracli.data.world.edits import draw_edit, edit_facts, edit_frames
from soracli.diffusion.config import FlowConfig, OrderConfig
from soracli.models.codec import encode_video
from soracli.models.generator import load_generator
from soracli.models.store import load_vae, save_vae
from soracli.models.tokenizer import train_tokenizer
from soracli.models.tokens import SOURCE_BLOCK, TEXT
from soracli.pipelines import cache_latents as caching
from soracli.pipelines import world_shards
from soracli.pipelines.cache_latents import cache_latents
from soracli.pipelines.describe_latents import describe_latents
from soracli.pipelines.dit_batch import draw_batch, draw_sample
from soracli.pipelines.dit_packing import count_tokens, packed_keys
from soracli.pipelines.noising import left_out, noised_sample
from soracli.pipelines.plan_latents import plan_latents
from soracli.pipelines.recipes import LatentsCacheRecipe
from soracli.pipelines.train_dit import train_dit
from soracli.training.distributed import World
from tests.models.tiny import tiny_vae
from tests.pipelines.runs import dit_recipe, figures, make_cache, weights

CPU = torch.device("cpu")
ONE = World(0, 1, 0, CPU)
EDITS = ("dit.edits=true", "samples.edit_share=0.6")
CACHED = WorldEditsConfig(videos=5, images=2, seconds=0.7, fps=8, height=16, width=24, captions=3)


@pytest.fixture
def vae(tmp_path):
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    return tmp_path / "vae"


def recipe(**changes):
    nothing = WorldLatentsConfig(videos=0, images=0)
    return LatentsCacheRecipe(world=nothing, world_edits=CACHED.model_copy(update=changes))


def test_both_videos_are_encoded_with_the_instruction(vae, tmp_path, monkeypatch):
    monkeypatch.setattr(world_shards, "_SHARD_VIDEOS", 3)
    plan = plan_latents(recipe(), vae=vae, clips=None, out=tmp_path / "out", device="cpu")
    cache = LatentCache(cache_latents(recipe(), vae=vae, clips=None, out=tmp_path / "out", device="cpu"))
    made = describe_latents(tmp_path / "out")
    assert (plan.edit_videos, plan.edit_images, plan.shards) == (5, 2, made.shards) == (5, 2, 3)
    assert plan.num_bytes == made.sources["world_edits"].num_bytes
    model, spec = load_vae(vae)
    for number, entry in enumerate(cache.entries):
        moving = number < 5
        edit = draw_edit(12, number, seconds=0.7 if moving else 0.0)
        before, after = edit_frames(edit, torch.arange(5 if moving else 1) / 8, 16, 24)
        assert (entry.name, entry.source, entry.paired) == (f"world 12 edit {number}", "world_edits", True)
        assert entry.whole == edit.is_reversed and len(entry.captions) == 3
        assert bool(entry.still_captions) == edit.shows_at_once
        for found, frames in ((cache.latents(entry), after), (cache.source_latents(entry), before)):
            torch.testing.assert_close(found, encode_video(model, spec, frames, CPU), atol=2e-3, rtol=2e-3)
    record = (tmp_path / "out/shards" / f"{cache.entries[0].shard}.json").read_text()
    assert str(edit_facts(draw_edit(12, 0, seconds=0.7))["kind"]) in record and '"kept"' in record


def test_another_recipe_is_other_shards_and_none_is_as_before(vae):
    def names(recipe):
        model, spec = load_vae(vae)
        return {job.name for job in caching.plan_jobs(recipe, model, spec, None, CPU, None)}

    for change in ({"fps": 9}, {"seconds": 1.2}, {"height": 24}, {"captions": 4}, {"seed": 13}):
        assert names(recipe()).isdisjoint(names(recipe(**change)))
    scenes = LatentsCacheRecipe(world=WorldLatentsConfig(**CACHED.model_dump()))
    assert len(names(scenes)) == 2 and names(scenes).isdisjoint(names(recipe()))
    assert names(LatentsCacheRecipe()) == names(LatentsCacheRecipe(world_edits=WorldEditsConfig(seed=99)))


def test_a_size_that_does_not_fit_is_named(vae, tmp_path):
    with pytest.raises(UsageError, match="size 24x20 does not fit the model"):
        cache_latents(recipe(height=20), vae=vae, clips=None, out=tmp_path / "out", device="cpu")


def add_edits(folder):
    """To the cache of ``make_cache``: two edits, the second of all frames only, each 1000 more than its source."""
    sources = [torch.randn(4, n, 4, 4, generator=torch.Generator().manual_seed(n)) for n in (7, 6)]
    records = [
        {"source": "world_edits", "name": name, "fps": 8.0, "captions": [text], "still_captions": still, "whole": whole}
        for name, text, still, whole in (
            ("a", "make the ball blue", ["make it blue"], False),
            ("b", "backwards", [], True),
        )
    ]
    write_shard(folder / "latents", "edits", [source + 1000 for source in sources], records, sources)
    write_index(folder / "latents", load_vae(folder / "vae")[1], ["all", "edits"], {})


@pytest.fixture
def parts(tmp_path):
    make_cache(tmp_path)
    add_edits(tmp_path)
    cache, tokenizer = LatentCache(tmp_path / "latents"), train_tokenizer(["a red ball rolls"], 300)

    def build(*settings):
        chosen = dit_recipe(*settings).recipe
        return LatentSampler(cache, chosen.samples), tokenizer, chosen

    return build


def test_samples_of_edits(parts):
    sampler = parts(*EDITS, "samples.image_share=0.3", "samples.middle_share=0.5")[0]
    drawn = [sampler.sample(torch.Generator().manual_seed(seed)) for seed in range(600)]
    edits = [sample for sample in drawn if sample.source is not None]
    assert len(edits) / 600 == pytest.approx(0.6, abs=0.06)
    for sample in edits:
        torch.testing.assert_close(sample.latents, sample.source + 1000, atol=1.0, rtol=0)  # float16
        assert sample.latents.shape[1] == 1 or sample.caption != "make it blue"
        if sample.caption == "backwards":
            assert sample.latents.shape[1] == 6 and sample.begins  # never a part of it
    seen = {(sample.caption, sample.latents.shape[1], sample.begins) for sample in edits}
    assert ("make it blue", 1, True) in seen and ("make the ball blue", 3, False) in seen
    assert not any("ball blue" in sample.caption for sample in drawn if sample.source is None)
    pictures = [sampler.sample(torch.Generator().manual_seed(seed), pictures_only=True) for seed in range(50)]
    assert all(sample.latents.shape[1] == 1 for sample in pictures)
    assert any(sample.source is not None for sample in pictures)


def test_without_a_share_nothing_is_drawn_otherwise(tmp_path, parts):
    """Edits in a cache change no sample of a recipe that does not ask for them."""
    with_edits = parts()[0]
    write_index(tmp_path / "latents", with_edits.cache.spec, ["all"], {})
    alone = LatentSampler(LatentCache(tmp_path / "latents"), LatentSamplesConfig(latent_frames=(3, 5)))
    for seed in range(50):
        one, other = (each.sample(torch.Generator().manual_seed(seed)) for each in (with_edits, alone))
        assert torch.equal(one.latents, other.latents) and one.caption == other.caption and one.source is None


def test_what_is_not_cached_is_said(tmp_path, parts):
    make_cache(tmp_path)
    plain = LatentCache(tmp_path / "latents")
    with pytest.raises(DataError, match=r"edit_share = 0\.5, but .* --set world_edits\.videos=1000"):
        LatentSampler(plain, LatentSamplesConfig(edit_share=0.5))
    with pytest.raises(DataError, match=r"world_edits\.images=1000"):
        LatentSampler(plain, LatentSamplesConfig(edit_share=0.5, image_share=1))
    write_index(tmp_path / "latents", plain.spec, ["edits"], {})
    with pytest.raises(DataError, match=r"edits only: set samples\.edit_share = 1"):
        LatentSampler(LatentCache(tmp_path / "latents"), LatentSamplesConfig(edit_share=0.5))
    sampler = LatentSampler(LatentCache(tmp_path / "latents"), LatentSamplesConfig(edit_share=1))
    assert sampler.sample(torch.Generator().manual_seed(0)).source is not None
    with pytest.raises(RecipeError, match=r"edit_share = 0\.5 must be 0, or dit\.edits = true"):
        dit_recipe("samples.edit_share=0.5")
    with pytest.raises(ValueError, match="cannot be an edit of"):
        write_shard(tmp_path / "latents", "bad", [torch.zeros(4, 1, 2, 2)], [{}], [torch.zeros(4, 2, 2, 2)])


def test_what_is_left_out():
    """One draw in three bands of 5 %: text alone, both, source alone; other samples have their own share."""
    flow = FlowConfig(text_dropout=0.3, edit_dropout=0.05)
    found = [left_out(draw, True, flow) for draw in (0.0, 0.049, 0.051, 0.099, 0.101, 0.149, 0.151, 0.999)]
    none, text, source, both = (False, False), (True, False), (False, True), (True, True)
    assert found == [text, text, both, both, source, source, none, none]
    assert [left_out(draw, False, flow) for draw in (0.29, 0.31)] == [text, none]


def test_the_source_stands_before_all_blocks_without_noise():
    number = torch.arange(5)
    drawn = LatentSample(torch.randn(2, 5, 4, 4), number.float(), number == 0, True, "")
    edited = replace(drawn, source=torch.randn(2, 5, 4, 4))
    made = [
        noised_sample(one, torch.tensor([1]), FlowConfig(context_noise=0.9), OrderConfig(first_block=2, block=2),
                      torch.Generator().manual_seed(1))
        for one in (drawn, edited)
    ]  # fmt: skip
    first, *rest = made[1][0].pieces
    assert first.block == SOURCE_BLOCK and first.is_source and first.clean and not first.t.any()
    assert torch.equal(first.latents, edited.source) and torch.equal(first.seconds, drawn.seconds)
    assert torch.equal(first.one_frame, drawn.one_frame) and not any(piece.is_source for piece in rest)
    for one, other in zip(made[0][0].pieces, rest, strict=True):  # all else is drawn as it is without
        assert torch.equal(one.latents, other.latents) and one.block == other.block
    assert all(torch.equal(one, other) for one, other in zip(made[0][1], made[1][1], strict=True))


@pytest.mark.parametrize("settings", [("flow.copies=2",), ("samples.token_drop=0.5",), ("flow.edit_dropout=0.3",)])
def test_what_is_counted_is_what_is_drawn(parts, settings):
    given = parts(*EDITS, "samples.max_tokens=150", "samples.sequences=2", *settings)
    sources = 0
    for step in range(4):
        keys = packed_keys(*given, step, ONE)[0]
        [(tokens, targets)] = draw_batch(*given, step, ONE)
        assert [segment.length for segment in tokens.segments] == [count_tokens(*given, key) for key in keys]
        assert len(targets) == len(tokens.wanted) and not (tokens.kind[tokens.wanted] == TEXT).any()
        assert not tokens.of_source[tokens.wanted].any()
        sources += int(tokens.of_source.sum())
    assert sources


def test_dropout_reaches_the_samples(parts):
    given = parts("dit.edits=true", "samples.edit_share=1", "flow.edit_dropout=0.33", "samples.image_share=0")
    seen = set()
    for seed in range(60):
        sample, _ = draw_sample(*given, torch.Generator().manual_seed(seed))
        seen.add((len(sample.text) > 1, any(piece.is_source for piece in sample.pieces)))
    assert seen >= {(True, True), (False, True), (True, False), (False, False)} - {(True, True)}
    whole = parts("dit.edits=true", "samples.edit_share=1", "flow.edit_dropout=0", "samples.image_share=0")
    for seed in range(20):
        sample, _ = draw_sample(*whole, torch.Generator().manual_seed(seed))
        assert len(sample.text) > 1 and sample.pieces[0].is_source


def train(folder, name, *settings, init=None):
    return train_dit(
        dit_recipe("loop.steps=3", "loop.save_every=3", *settings),
        latents=folder / "latents",
        vae=folder / "vae",
        out=folder / name,
        init=init,
        device="cpu",
    )


def test_a_model_that_knows_no_edits_learns_them(tmp_path):
    """Begun from its weights, the mark of a source begins at 0 and learns; the finished model says that it edits."""
    make_cache(tmp_path)
    base = train(tmp_path, "base", "text.vocabulary_size=300")
    add_edits(tmp_path)
    still = ("optimiser.learning_rate=1e-12", "optimiser.weight_decay=0")
    same = train(tmp_path, "same", *EDITS, *still, init=base)
    averaged = load_generator(base).dit.state_dict()
    begun = load_generator(same).dit.state_dict()
    assert begun["source_embed"].abs().max() < 1e-6
    for name, value in averaged.items():
        torch.testing.assert_close(begun[name], value, atol=1e-5, rtol=1e-5)
    learnt = train(tmp_path, "learnt", *EDITS, init=base)
    assert weights(learnt, 3)["model/dit.source_embed"].abs().max() > 1e-4
    assert load_generator(learnt).dit.config.edits and len(figures(learnt)) == 3
    with pytest.raises(UsageError, match=r"--set dit\.edits=True would build that"):
        train(tmp_path, "back", init=learnt)
    with pytest.raises(UsageError, match=r"--set dit\.edits=False would build that"):
        train(tmp_path, "adapter", *EDITS, "lora.rank=2", init=base)
