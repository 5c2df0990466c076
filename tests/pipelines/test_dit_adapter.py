"""Adapting a DiT: stopped equals never stopped, the base stays as it was, and merged is what was trained."""

import pytest
import torch

from soracli.core.errors import ArtifactError, UsageError
from soracli.models.adapter import put_adapter
from soracli.models.generator import load_generator
from soracli.models.record import part_folder, read_record
from soracli.pipelines import dit_step
from soracli.pipelines.describe_model import describe_model
from soracli.pipelines.merge_dit import merge_dit
from soracli.pipelines.plan_dit import plan_dit
from soracli.pipelines.plan_generation import plan_generation
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.video_maker import open_model
from tests.pipelines.runs import assert_same_run, dit_recipe, figures, make_cache, weights
from tests.pipelines.test_train_dit import train, train_in_parts

LORA = ("lora.rank=2", "lora.whole=['dit.final.bias']", "optimiser.learning_rate=0.05", "sampling.num_steps=2")


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(dit_step, "_VALIDATION_SAMPLES", 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with ``base``, a trained model, and ``adapted``, what was learnt on it."""
    folder = tmp_path_factory.mktemp("trained")
    make_cache(folder)
    train(folder, "base", "loop.steps=2")
    train(folder, "adapted", *LORA, init=folder / "base")
    return folder


def test_stopped_is_never_stopped(trained):
    assert_same_run(trained / "adapted", train_in_parts(trained, *LORA, init=trained / "base"))


def test_what_is_kept_is_small_and_the_base_is_as_it_was(trained):
    base, model = load_generator(trained / "base"), describe_model(trained / "adapted")
    assert [part.kind for part in model.parts] == ["lora"]
    adapted = sum(module.in_features + module.out_features for module in _adapted(base))
    assert model.parts[0].parameters == 2 * adapted + base.dit.final.out_features
    names = {name for name in weights(trained / "adapted") if not name.startswith("optimiser")}
    assert len(names) == 2 * (2 * len(_adapted(base)) + 1)
    assert all(name.endswith(("lora_down", "lora_up", "dit.final.bias")) for name in names)
    record = read_record(part_folder(trained / "adapted", "lora"), "lora")
    base_record = read_record(part_folder(trained / "base", "dit"), "dit")
    assert record["base"] == {"dit": base_record["hash"], "text": base_record["text_hash"]}
    assert len(figures(trained / "adapted")) == 6


def _adapted(base):
    return [
        layer
        for name, layer in base.dit.named_modules()
        if isinstance(layer, torch.nn.Linear) and (".attention." in name or ".mlp." in name)
    ]


def test_a_merged_model_is_the_model_with_its_adapter(trained, tmp_path):
    """As a folder of its own, put on when it is read, and as the training itself measured it."""
    base, run = trained / "base", trained / "adapted"
    merged = merge_dit(base, run, tmp_path / "merged")
    one, other = load_generator(merged), put_adapter(load_generator(base), base, run)
    for module, twin in ((one.dit, other.dit), (one.text, other.text)):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, twin.state_dict()[name]), name
    assert not torch.equal(one.dit.blocks[0].mlp.up.weight, load_generator(base).dit.blocks[0].mlp.up.weight)
    assert one.defaults["num_steps"] == 2
    frames = [open_model(merged, torch.device("cpu")), open_model(base, torch.device("cpu"), run)]
    assert torch.equal(*(maker.make("a ball", 0, 0.5) for maker in frames))
    assert frames[1].settings["adapter"] == read_record(part_folder(run, "lora"), "lora")["hash"]
    half = merge_dit(base, run, tmp_path / "half", store="bfloat16")
    assert torch.equal(load_generator(half).dit.final.weight, one.dit.final.weight.bfloat16().float())


def test_what_was_measured_is_what_was_merged(trained, tmp_path):
    """The fixed loss of the last step, of adapters beside their layers, is that of the merged model as a start."""
    adapted = ("loop.steps=3", "loop.eval_every=3", *LORA)
    run = train(trained, tmp_path / "run", *adapted, "loop.sample_every=3", init=trained / "base")
    assert (run / "samples/step_00000003.png").is_file() and not (run / "preview").exists()
    merged = merge_dit(trained / "base", run, tmp_path / "merged")
    still = ("loop.steps=1", "loop.eval_every=1", "optimiser.learning_rate=1e-30", "optimiser.warmup_steps=0")
    again = train(trained, tmp_path / "again", *still, init=merged)
    assert figures(again, "fixed_loss") == pytest.approx(figures(run, "fixed_loss"), rel=1e-5)


def test_an_adapter_goes_on_no_other_model(trained, tmp_path):
    other = train(trained, tmp_path / "other", "loop.steps=1")
    for refused in (
        lambda: merge_dit(other, trained / "adapted", tmp_path / "merged"),
        lambda: put_adapter(load_generator(other), other, trained / "adapted"),
        lambda: plan_generation("a ball", model=other, seed=0, adapter=trained / "adapted"),
    ):
        with pytest.raises(ArtifactError, match=r"adapts model .* name the model that it was trained on"):
            refused()
    assert not (tmp_path / "merged").exists()
    with pytest.raises(ArtifactError, match="holds lora, but no dit"):
        plan_generation("a ball", model=trained / "adapted", seed=0)
    with pytest.raises(ArtifactError, match="but no lora"):
        merge_dit(other, other, tmp_path / "merged")


def test_what_cannot_be_merged_is_refused(trained, tmp_path):
    base, run = trained / "base", trained / "adapted"
    with pytest.raises(UsageError, match="did you mean bfloat16"):
        merge_dit(base, run, tmp_path / "out", store="bfloat")
    with pytest.raises(UsageError, match="the model itself"):
        merge_dit(base, run, base / "model", overwrite=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        merge_dit(base, run, tmp_path / "out")
    assert merge_dit(base, run, tmp_path / "out", overwrite=True) == tmp_path / "out"


def test_what_would_stop_a_training_stops_its_plan(trained, tmp_path):
    """Before there is a folder."""
    for change, init, said in (
        (("lora.rank=2",), None, "name it with --init"),
        (("lora.rank=2", "lora.layers=['dit.blocks.7.*']"), trained / "base", "no linear layer"),
    ):
        for begin in (train_dit, lambda loaded, **given: plan_dit(loaded.recipe, **given)):
            with pytest.raises(UsageError, match=said):
                begin(
                    dit_recipe(*change), latents=trained / "latents", vae=trained / "vae", out=tmp_path / "run",
                    init=init, device="cpu",
                )  # fmt: skip
        assert not (tmp_path / "run").exists()
    plan = plan_dit(
        dit_recipe(*LORA).recipe, latents=trained / "latents", vae=trained / "vae", out=tmp_path / "run",
        init=trained / "base",
    )  # fmt: skip
    assert plan.text_parameters == 0
    assert plan.dit_parameters == describe_model(trained / "adapted").parts[0].parameters
