"""Training a DiT: stopped equals never stopped, first losses are the golden ones, one video is learnt by heart."""

import json

import pytest
import torch

from soracli.core.errors import ArtifactError, RecipeError, Stopped, UsageError
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache, write_index, write_shard
from soracli.models.generator import load_generator
from soracli.models.store import load_vae, save_vae
from soracli.models.tokenizer import train_tokenizer
from soracli.models.tokens import MANY_FRAMES, ONE_FRAME, TEXT
from soracli.pipelines import dit_step
from soracli.pipelines.dit_batch import draw_batch
from soracli.pipelines.train_dit import train_dit
from soracli.training.distributed import World
from tests.models.tiny import stir, tiny_vae
from tests.pipelines.runs import StopAfter, assert_same_run, dit_recipe, figures, make_cache, weights


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(dit_step, "_VALIDATION_SAMPLES", 8)


def train(folder, name, *changes, vae=None, **options):
    return train_dit(
        dit_recipe(*changes),
        latents=folder / "latents",
        vae=vae or folder / "vae",
        out=folder / name,
        device="cpu",
        **options,
    )


def train_in_parts(folder, *changes, **options):
    for steps in (2, 1):
        with pytest.raises(Stopped, match="SIGUSR1 after step"):
            train(folder, "parts", *changes, reporter=StopAfter(1 + steps), **options)
        assert (folder / "parts/stopped").read_text() == "SIGUSR1\n"
    return train(folder, "parts", *changes, **options)


@pytest.mark.row(18)
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_stopped_is_never_stopped(tmp_path, golden_numbers, optimiser):
    make_cache(tmp_path)
    change = f"optimiser.name={optimiser}"
    whole = train(tmp_path, "whole", change)
    assert_same_run(whole, train_in_parts(tmp_path, change))
    golden_numbers(f"losses/train_dit_{optimiser}.txt", figures(whole)[:3])


def test_a_finished_run_is_a_whole_model(tmp_path):
    make_cache(tmp_path)
    run = train(
        tmp_path,
        "run",
        "loop.steps=2",
        "loop.sample_every=2",
        "loop.eval_every=1",
        "samples.latent_frames=[3, 9]",
        "sampling.num_steps=3",
        "sampling.guidance_scale=2.0",
    )
    model = load_generator(run)
    assert model.spec == load_vae(tmp_path / "vae")[1]
    assert model.defaults == {
        "fps": 8.0,
        "size": [32, 32],
        "objective": "flow",
        "shift": 1.5,
        "first_block": 2,
        "block": 2,
        "num_steps": 3,
        "guidance_scale": 2.0,
        "later_guidance_scale": 4.0,
        "guidance_interval": [0.0, 1.0],
        "sampler": "euler",
        "context_noise": 0.05,
        "sink": 0,
        "window": 5,  # 7 latents of the longest video, not the 9 asked for, less a block
    }
    ema = {name.removeprefix("ema/"): tensor for name, tensor in weights(run, 2).items() if name.startswith("ema/")}
    for name, tensor in model.dit.state_dict().items():
        assert torch.equal(ema[f"dit.{name}"], tensor)
    for name, tensor in model.text.state_dict().items():
        assert torch.equal(ema[f"text.{name}"], tensor)
    assert (run / "samples/step_00000002.png").is_file() and not (run / "preview").exists()
    assert len(figures(run, "fixed_loss")) == 2
    for name in ("tokens_per_second", "samples_per_second", "utilisation"):
        assert len(figures(run, name)) == 2 and all(value > 0 for value in figures(run, name))
    assert figures(run, "padding") == [0, 0]  # one sample after another, nothing between
    assert figures(run, "seconds_left")[0] > figures(run, "seconds_left")[1] == 0


def test_a_training_begins_from_a_model(tmp_path):
    """Its weights and tokens are taken over whole, and the run belongs to it."""
    make_cache(tmp_path)
    first = train(tmp_path, "first", "loop.steps=2")
    still = ("loop.steps=1", "optimiser.learning_rate=1e-30", "optimiser.warmup_steps=0")
    second = train(tmp_path, "second", *still, init=first)
    one, other = load_generator(first), load_generator(second)
    for module, again in ((one.dit, other.dit), (one.text, other.text)):
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(again.state_dict()[name], tensor)
    assert one.tokenizer.to_str() == other.tokenizer.to_str()
    with pytest.raises(RecipeError, match="init"):
        train(tmp_path, "second", "loop.steps=2", *still[1:])
    with pytest.raises(UsageError, match=r"--set dit\.depth=1 would build that"):
        train(tmp_path, "third", "dit.depth=3", init=first)
    with pytest.raises(ArtifactError):
        train(tmp_path, "third", init=tmp_path / "vae")
    assert not (tmp_path / "third").exists()


def test_another_average_may_be_taken_afterwards(tmp_path):
    """What a run of several averages leaves is, for each, what a run of that one alone leaves; also when stopped."""
    make_cache(tmp_path)
    decays = "loop.ema_decays=[0.5, 0.9]"
    several = train_in_parts(tmp_path, decays, "loop.ema_decay=0.9")
    assert {name.partition("/")[0] for name in weights(several)} == {"ema_0.5", "ema_0.9", "model", "optimiser"}
    for decay in (0.9, 0.5):
        alone = train(tmp_path, f"alone {decay}", f"loop.ema_decay={decay}")
        train(tmp_path, "parts", decays, f"loop.ema_decay={decay}")
        assert (several / "model/dit/model.safetensors").read_bytes() == (
            alone / "model/dit/model.safetensors"
        ).read_bytes()
    assert len(figures(several)) == 6
    with pytest.raises(RecipeError, match=r"loop\.ema_decay = 0\.5, now 0\.9"):
        train(tmp_path, "alone 0.5")


def test_a_run_of_an_older_sora_goes_on(tmp_path):
    """Its record knows none of the newer keys, its checkpoint nothing of spikes."""
    make_cache(tmp_path)
    run = train(tmp_path, "run", "loop.steps=2")
    record = json.loads((run / "run.json").read_text())
    del record["resolved"]["lora"], record["resolved"]["accumulate"], record["resolved"]["optimiser"]["spike_ratio"]
    (run / "run.json").write_text(json.dumps(record))
    assert len(figures(train(tmp_path, "run", "loop.steps=3"))) == 3
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(RecipeError, match=r"optimiser\.spike_ratio = 0\.0, now 3"):
        train(tmp_path, "run", "loop.steps=4", "optimiser.spike_ratio=3")


def test_bfloat16_learns_nearly_the_same(tmp_path):
    make_cache(tmp_path)
    one = figures(train(tmp_path, "one", "loop.steps=3", "loop.eval_every=3"))
    other = figures(train(tmp_path, "other", "loop.steps=3", "loop.eval_every=3", "loop.precision=bfloat16"))
    assert one != other and other == pytest.approx(one, rel=0.02)


def test_weights_are_stored_in_half_the_bytes_if_asked(tmp_path):
    make_cache(tmp_path)
    whole = train(tmp_path, "whole", "loop.steps=1")
    half = train(tmp_path, "half", "loop.steps=1", "loop.store=bfloat16")
    for name, tensor in load_generator(whole).dit.state_dict().items():
        assert torch.equal(load_generator(half).dit.state_dict()[name], tensor.bfloat16().float())


def test_samples_on_the_way_change_nothing(tmp_path):
    make_cache(tmp_path)
    plain = train(tmp_path, "plain", "loop.steps=2")
    shown = train(tmp_path, "shown", "loop.steps=2", "loop.eval_every=1")
    for name, tensor in weights(plain, 2).items():
        assert torch.equal(weights(shown, 2)[name], tensor)


def test_one_video_is_learnt_by_heart(tmp_path):
    """Its noise can be read off the noisy latents, so the loss goes towards 0; before, it is that of predicting 0."""
    make_cache(tmp_path, lengths=(3,))
    run = train(
        tmp_path, "run", "samples.image_share=0", "samples.latent_frames=[3]", "flow.context_noise=0", "loop.steps=120",
        "order.first_block=3", "order.animate=0", "order.backward=0", "order.between=0", "order.scattered=0",
        "optimiser.name=muon", "optimiser.learning_rate=0.02", "loop.save_every=120",
    )  # fmt: skip
    losses = figures(run)
    assert losses[0] == pytest.approx(2.2, abs=0.5)
    assert sum(losses[-10:]) / 10 < 0.3 * losses[0]


def test_batches(tmp_path):
    """Samples of a step are the same in every run; dropped text is the mark alone; targets fit what is wanted."""
    make_cache(tmp_path)
    recipe = dit_recipe("flow.text_dropout=0.5").recipe
    sampler = LatentSampler(LatentCache(tmp_path / "latents"), recipe.samples)
    tokenizer = train_tokenizer(["a red ball rolls"], 300)
    world = World(0, 1, 0, torch.device("cpu"))
    lengths = []
    for step in range(20):
        [(tokens, targets)] = draw_batch(sampler, tokenizer, recipe, step, world)
        [(again, _)] = draw_batch(sampler, tokenizer, recipe, step, world)
        assert torch.equal(tokens.patches, again.patches) and torch.equal(tokens.text, again.text)
        assert targets.shape == (len(tokens.wanted), 16)
        assert not (tokens.kind[tokens.wanted] == TEXT).any()
        lengths += tokens.text_lengths
    assert len(lengths) == 80 and sum(length == 1 for length in lengths) / 80 == pytest.approx(0.5, abs=0.2)


def test_the_first_steps_show_pictures(tmp_path):
    """Four times as many as samples later, each in every noisy copy."""
    make_cache(tmp_path)
    recipe = dit_recipe("samples.images_first=2", "samples.image_share=0", "flow.copies=3").recipe
    sampler = LatentSampler(LatentCache(tmp_path / "latents"), recipe.samples)
    tokenizer = train_tokenizer(["a red ball rolls"], 300)
    world = World(0, 1, 0, torch.device("cpu"))
    batches = [draw_batch(sampler, tokenizer, recipe, step, world)[0][0] for step in (0, 1, 2)]
    size = recipe.samples.batch_size
    assert [len(tokens.segments) for tokens in batches] == [4 * size, 4 * size, size]
    for tokens in batches[:2]:
        assert set(tokens.kind.tolist()) == {TEXT, ONE_FRAME}
        assert len(tokens.wanted) == 4 * size * 3 * 4  # 4x4 latents are 4 tokens
    assert MANY_FRAMES in batches[2].kind


def test_parents_that_do_not_fit_are_refused(tmp_path):
    vae, latents = make_cache(tmp_path)
    save_vae(tmp_path / "other", stir(tiny_vae(), 5), torch.zeros(4), torch.ones(4), {})
    with pytest.raises(ArtifactError, match="name the VAE it was made with"):
        train(tmp_path, "run", vae=tmp_path / "other")
    with pytest.raises(
        UsageError, match=r"dit\.patch_size = \[1, 3, 2\] does not divide the 4x4 latents .* of scene 0"
    ):
        train(tmp_path, "run", "dit.patch_size=[1, 3, 2]")
    assert not (tmp_path / "run").exists()
    train(tmp_path, "run", "loop.steps=1")
    with pytest.raises(RecipeError, match=r"flow\.shift"):
        train(tmp_path, "run", "loop.steps=1", "flow.shift=2")
    # Another cache of the same VAE: other captions would give the same tokens other meanings.
    record = json.loads((latents / "shards/all.json").read_text())[0]
    write_shard(latents, "more", [torch.zeros(record.pop("shape"))], [record])
    write_index(latents, load_vae(vae)[1], ["all", "more"], {})
    with pytest.raises(RecipeError, match="latents"):
        train(tmp_path, "run", "loop.steps=2")
