"""A DiT that ranks hold between them against the same training of one rank: losses, weights, models, checkpoints.

Also what goes on from one number of ranks to another, and faults of one rank while all of them write.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soracli.core.errors import RecipeError
from soracli.pipelines.recipes import CaptionTrainRecipe, JudgeTrainRecipe, VaeTrainRecipe
from soracli.recipe.load import load_recipe
from soracli.training.checkpoint import load_latest
from tests.pipelines.runs import figures, make_cache
from tests.pipelines.test_edit_pairs import add_edits

ROOT = Path(__file__).parents[2]
# Adam and Muon turn a gradient that is nothing but rounding into a step of full size, so the steps are small.
BASE = (
    "loop.steps=4", "samples.batch_size=12", "optimiser.learning_rate=0.00001", "optimiser.schedule=constant",
    "dit.depth=2",
)  # fmt: skip
MUON = (*BASE, "optimiser.name=muon")
KINDS = {
    # Samples of one rank have a source where those of the other may have none, and texts that were left out.
    "edits": ("dit.edits=true", "samples.edit_share=0.5", "flow.text_dropout=0.5", "samples.batch_size=2"),
    "cross": ("dit.text=cross", "dit.block=diffit", "checkpoint_activations=true", "accumulate=3"),
    "windows": ("dit.attention=windows", "checkpoint_activations=true", "loop.ema_decays=[0.9, 0.5]"),
    "own estimates": ("dit.self_conditioned=true", "flow.self_conditioning=0.5", "optimiser.name=adamw"),
    "packed": ("samples.max_tokens=90", "samples.sequences=2", "accumulate=3", "samples.loss_weights=sample"),
    "adamw": ("optimiser.name=adamw", "loop.ema_decay=0"),
    "clipped": ("optimiser.gradient_clip=0.01", "text.depth=2", "samples.token_drop=0.3"),
}
Runs = dict[str, list[list[int]]]


def run_all(folder: Path, runs: dict[str, list[tuple[int, tuple[str, ...]]]]) -> Runs:
    """Do runs in one process that forks ranks; exit codes by run and turn."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.shard_child", str(folder)],
        input=json.dumps([{"name": name, "turns": turns} for name, turns in runs.items()]),
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    found = {report["name"]: report["codes"] for report in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == runs.keys(), done.stderr
    return found


def left_with(codes: Runs) -> set[int]:
    return {code for turns in codes.values() for turn in turns for code in turn}


def said(folder: Path, name: str) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob(f"{name}.rank*")))


def assert_alike(folder: Path, name: str, other: str, rel: float = 1e-5) -> None:
    """Losses, norms, tensors of the last checkpoint and of the model, to rounding."""
    one, two = folder / name, folder / other
    for figure in ("loss", "gradient_norm", "fixed_loss", "skipped_updates"):
        assert figures(one, figure) == pytest.approx(figures(two, figure), rel=rel), figure
    found, expected = (load_latest(run / "checkpoints") for run in (one, two))
    assert found is not None and expected is not None and found.step == expected.step
    assert found.parts.keys() == expected.parts.keys()
    for part, tensors in expected.parts.items():
        assert found.parts[part].keys() == tensors.keys()
        for key, tensor in tensors.items():
            torch.testing.assert_close(found.parts[part][key], tensor, atol=1e-5, rtol=1e-4, msg=f"{part} {key}")
            if key.endswith(("/exp_avg", "/momentum_buffer")):  # whether gradients agree, however small
                error = float((found.parts[part][key] - tensor).norm())
                assert error <= 1e-4 * float(tensor.norm()) + 1e-9, f"{part} {key}"
    models = [sorted((run / "model").rglob("model.safetensors")) for run in (one, two)]
    assert len(models[0]) == len(models[1]) > 0
    for path, twin in zip(*models, strict=True):
        for key, tensor in load_file(twin).items():
            torch.testing.assert_close(load_file(path)[key], tensor, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    make_cache(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    shown = ("loop.eval_every=2", "loop.sample_every=4", "sampling.num_steps=2")
    runs = {
        "alone": [(1, (*MUON, *shown))],
        "sharded": [(2, (*MUON, *shown, "shard_ranks=0"))],
    }
    codes = run_all(folder, runs)
    assert left_with(codes) == {0}, "\n".join(said(folder, name) for name in runs)
    return folder


def test_two_ranks_hold_what_one_holds(undisturbed: Path) -> None:
    assert_alike(undisturbed, "sharded", "alone")


def test_what_one_rank_does_with_the_model_is_done(undisturbed: Path) -> None:
    """Measured and shown on the way."""
    assert len(figures(undisturbed / "sharded", "fixed_loss")) == 2
    assert [path.name for path in (undisturbed / "sharded/samples").iterdir()] == ["step_00000004.png"]


def test_each_rank_writes_its_rows(undisturbed: Path) -> None:
    path = undisturbed / "sharded/checkpoints/step_00000004"
    files = {file.name: file.stat().st_size for file in path.glob("*.safetensors")}
    parts = ("ema", "model", "optimiser")
    assert files.keys() == {f"{part}-0000{number}-of-00002.safetensors" for part in parts for number in (1, 2)}
    whole = (undisturbed / "alone/checkpoints/step_00000004/model.safetensors").stat().st_size
    assert 0.4 * whole < files["model-00002-of-00002.safetensors"] < 0.7 * whole
    assert json.loads((path / "manifest.json").read_text())["format"] == 2
    first, second = (load_file(path / f"model-0000{number}-of-00002.safetensors") for number in (1, 2))
    assert torch.equal(
        torch.cat([first["dit.patch_embed.weight"], second["dit.patch_embed.weight"]]),
        load_latest(path.parent).parts["model"]["dit.patch_embed.weight"],  # type: ignore[union-attr]
    )


@pytest.mark.slow
def test_stopped_and_gone_on_is_never_stopped(undisturbed: Path) -> None:
    """To the last bit with the same ranks, and to rounding with others: 2, 1, 3, and two copies on 2 each."""
    sharded = (*MUON, "loop.eval_every=2", "loop.sample_every=4", "sampling.num_steps=2")
    runs = {
        "in turns": [(2, (*sharded, "shard_ranks=2", f"loop.steps={steps}")) for steps in (2, 4)],
        "by others": [
            (2, (*MUON, "loop.steps=1", "shard_ranks=2")),
            (1, (*MUON, "loop.steps=2")),
            (3, (*MUON, "loop.steps=3", "shard_ranks=3")),
            (4, (*MUON, "loop.steps=4", "shard_ranks=2")),
        ],
    }
    codes = run_all(undisturbed, runs)
    assert left_with(codes) == {0}, said(undisturbed, "by others")
    one, other = undisturbed / "in turns", undisturbed / "sharded"
    assert figures(one) == figures(other)
    for path in sorted([*(other / "checkpoints/step_00000004").iterdir(), *(other / "model").rglob("*.*")]):
        assert (one / path.relative_to(other)).read_bytes() == path.read_bytes(), path
    losses = figures(undisturbed / "by others")
    assert losses == pytest.approx(figures(undisturbed / "alone"), rel=1e-5)
    found, expected = (load_latest(undisturbed / run / "checkpoints") for run in ("by others", "alone"))
    for part in ("model", "ema", "optimiser"):
        for key, tensor in expected.parts[part].items():  # type: ignore[union-attr]
            torch.testing.assert_close(found.parts[part][key], tensor, atol=1e-5, rtol=1e-4)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.row(5, 35)
def test_a_rank_that_fails_while_all_write_leaves_the_older_checkpoint(folder: Path) -> None:
    changes = (*BASE, "shard_ranks=2", "loop.steps=6", "samples.batch_size=4")
    runs = {name: [(2, changes)] for name in ("kill", "kill of rank 0", "full disk")}
    codes = run_all(folder, runs)
    assert codes == {"kill": [[5, -9]], "kill of rank 0": [[-9, 5]], "full disk": [[5, 5]]}
    assert "sora: error: rank 1 (process " in (folder / "kill.rank0").read_text()
    assert "sora: error: cannot write a checkpoint (No space left" in (folder / "full disk.rank1").read_text()
    assert "rank 1: cannot write a checkpoint (No space left" in (folder / "full disk.rank0").read_text()
    assert not list((folder / "full disk/checkpoints").glob("*.part"))
    for name in runs:
        assert load_latest(folder / name / "checkpoints").step == 2  # type: ignore[union-attr]
        (folder / name).rename(folder / f"after {name}")
    codes = run_all(folder, {f"after {name}": [(2, changes)] for name in runs} | {"no fault": [(2, changes)]})
    assert left_with(codes) == {0}
    for name in runs:
        assert figures(folder / f"after {name}") == figures(folder / "no fault")
        assert not list((folder / f"after {name}").rglob("*.part"))


def test_ranks_that_cannot_be_divided_are_refused(folder: Path) -> None:
    assert run_all(folder, {"three": [(2, (*BASE, "shard_ranks=3"))]}) == {"three": [[2, 2]]}
    assert "shard_ranks = 3 does not divide 2 ranks; what fits: 1, 2, or 0" in (folder / "three.rank1").read_text()
    assert not (folder / "three").exists()


def test_other_kinds_of_training_have_no_such_key() -> None:
    for kind in (VaeTrainRecipe, CaptionTrainRecipe, JudgeTrainRecipe):
        with pytest.raises(RecipeError, match="shard_ranks"):
            load_recipe(kind, None, ["shard_ranks=2"])
        with pytest.raises(RecipeError, match="shard_ranks"):
            load_recipe(kind, None, ["loop.shard_ranks=2"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_training(tmp_path: Path, kind: str) -> None:
    make_cache(tmp_path)
    add_edits(tmp_path)
    changes = (*MUON, "loop.eval_every=2", *KINDS[kind])
    codes = run_all(tmp_path, {"alone": [(1, changes)], "sharded": [(2, (*changes, "shard_ranks=2"))]})
    assert left_with(codes) == {0}, said(tmp_path, "sharded")
    assert_alike(tmp_path, "sharded", "alone")


@pytest.mark.slow
def test_what_begins_from_a_model(tmp_path: Path) -> None:
    """An adapter, whose model learns nothing, and a distillation, where a rank may have nothing to ask a teacher."""
    make_cache(tmp_path)
    lora = (*MUON, "lora.rank=2")
    few = (*MUON, "samples.batch_size=2", "distill.guided=0.4", "distill.stepped=0.3", "loop.steps=6")
    runs = {"base": [(1, (*MUON, "loop.steps=2"))], "lora alone": [(1, lora)]}
    runs |= {"lora sharded": [(2, (*lora, "shard_ranks=2"))], "distilled alone": [(1, few)]}
    runs |= {"distilled sharded": [(2, (*few, "shard_ranks=2"))]}
    codes = run_all(tmp_path, runs)  # type: ignore[arg-type]
    assert left_with(codes) == {0}, said(tmp_path, "*sharded")
    assert_alike(tmp_path, "lora sharded", "lora alone")
    assert_alike(tmp_path, "distilled sharded", "distilled alone")


@pytest.mark.slow
def test_compiled(tmp_path: Path) -> None:
    make_cache(tmp_path)
    changes = (*MUON, "checkpoint_activations=true", "shard_ranks=2")
    codes = run_all(tmp_path, {"plain": [(2, changes)], "compiled": [(2, (*changes, "compile=true"))]})
    assert left_with(codes) == {0}, said(tmp_path, "compiled")
    assert_alike(tmp_path, "compiled", "plain")
