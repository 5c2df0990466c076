"""Training a captioner: interrupted equals uninterrupted, two ranks equal one, it learns, bad clips are named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from soracli.core.errors import DataError, RecipeError, Stopped, UsageError
from soracli.data import drawn_scenes
from soracli.data.caption_pool import CaptionPool, draw_stage
from soracli.models.captioner_store import load_captioner
from soracli.pipelines import train_captioner as pipeline
from soracli.pipelines.plan_captioner import plan_captioner
from soracli.pipelines.recipes import CaptionTrainRecipe
from soracli.pipelines.train_captioner import train_captioner
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe
from soracli.training.seeding import generator_for
from tests.data.clips import make_clip, make_manifest
from tests.pipelines.caption_rank_child import TINY
from tests.pipelines.runs import Notes, StopAfter, assert_same_run, figures, weights
from tests.pipelines.test_two_ranks import free_ports

ROOT = Path(__file__).parents[2]
CLIPS = "data.world_share=0.4"


def tiny(*more):
    return load_recipe(CaptionTrainRecipe, None, [*TINY, *more])


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch):
    monkeypatch.setattr(pipeline, "_EVAL_SCENES", 3)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    made = [
        make_clip(folder, "moving.webp", 5, seed=1),
        make_clip(folder, "short.webp", 2, alpha=True, seed=2),
        make_clip(folder, "still.png", 1, seed=3),
    ]
    return make_manifest(folder, *made)


class StopTraining(StopAfter):
    """Stops after some steps; drawing the scenes does not count."""

    def task(self, label, total, unit):
        return super().task(label, total, unit) if label == "caption train" else Notes().task(label, total, unit)


def test_interrupted_is_uninterrupted(tmp_path, clips):
    whole = train_captioner(tiny(CLIPS), clips=clips, out=tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped, match="SIGUSR1 after step 3: everything is saved"):
        # The first call tells what was done before: 0 steps.
        train_captioner(tiny(CLIPS), clips=clips, out=tmp_path / "parts", device="cpu", reporter=StopTraining(4))
    assert (tmp_path / "parts" / "stopped").read_text() == "SIGUSR1\n"
    parts = train_captioner(tiny(CLIPS), clips=clips, out=tmp_path / "parts", device="cpu")
    assert_same_run(parts, whole)
    assert len(figures(whole)) == 6 and len(figures(whole, "held_out_unread")) == 2
    captioner, tokenizer, record = load_captioner(whole)
    assert record["trained"]["steps"] == 6 and tokenizer.get_vocab_size() == 300
    assert (whole / "tokenizer.json").read_text() == tokenizer.to_str()
    assert captioner.config == tiny().recipe.captioner


def test_a_stop_while_scenes_are_drawn_keeps_them(tmp_path):
    with pytest.raises(Stopped, match="after step 0"):
        train_captioner(tiny("data.scenes=60"), clips=None, out=tmp_path / "run", device="cpu", reporter=StopAfter(1))
    assert len(list((tmp_path / "run" / "scenes").glob("*.safetensors"))) == 1


def test_another_recipe_is_another_run(tmp_path):
    train_captioner(tiny("loop.steps=1"), clips=None, out=tmp_path, device="cpu")
    with pytest.raises(RecipeError, match="contrastive"):
        train_captioner(tiny("loop.steps=1", "contrastive=0.5"), clips=None, out=tmp_path, device="cpu")


def test_two_ranks_are_one(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn_scenes, "CHUNK", 4)
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.caption_rank_child", str(tmp_path / "two"), *free_ports(1)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one = train_captioner(
        tiny("optimiser.learning_rate=0.00001", "loop.eval_every=0"),
        clips=None,
        out=tmp_path / "one",
        device="cpu",
    )
    for name in ("loss", "language", "pairing", "gradient_norm"):
        assert figures(tmp_path / "two", name) == pytest.approx(figures(one, name), rel=1e-4), name
    found, expected = weights(tmp_path / "two"), weights(one)
    for name, tensor in expected.items():
        if name.endswith("/exp_avg"):
            assert float((found[name] - tensor).norm()) <= 2e-3 * float(tensor.norm()) + 1e-9, name


def test_it_learns(tmp_path):
    more = (
        "loop.steps=40",
        "loop.eval_every=0",
        "optimiser.learning_rate=0.005",
        "data.degrade=0",
        "loop.save_every=40",
    )
    run = train_captioner(tiny(*more), clips=None, out=tmp_path, device="cpu")
    losses = figures(run, "language")
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_short_captions_come_first(tmp_path):
    notes = Notes()
    train_captioner(tiny("loop.eval_every=0"), clips=None, out=tmp_path, device="cpu", reporter=notes)
    assert notes.said == ["long captions from step 2 on"]
    recipe = tiny().recipe
    pool = CaptionPool(recipe.data, 16, tmp_path / "scenes", None)
    for step in range(6):
        stage = draw_stage(recipe.data, step, generator_for(0, "stage", step))
        captions = [pool.sample(generator_for(0, step, number), stage).caption for number in range(8)]
        assert all(("sky" in caption) == (step >= 2) for caption in captions), captions


def test_samples_of_clips_have_their_captions_and_their_times(tmp_path, clips):
    recipe = tiny("data.world_share=0").recipe
    pool = CaptionPool(recipe.data, 16, tmp_path / "scenes", clips)
    stage = next(stage for stage in recipe.data.stages if stage.num_frames == 3)
    times = {}
    for number in range(30):
        sample = pool.sample(generator_for(0, number), stage)
        assert (
            sample.frames.shape == (3, 3, 16, 16)
            and -1 <= float(sample.frames.min()) <= float(sample.frames.max()) <= 1
        )
        times[sample.caption] = [round(value, 3) for value in sample.times.tolist()]
    assert times == {"blocks 1": [0, 0.16, 0.32], "blocks 2": [0, 0, 0.08], "blocks 3": [0, 0, 0]}


def test_broken_clips_are_left_out_and_none_left_is_told(tmp_path, clips):
    (clips.parent / "moving.webp").write_bytes(b"nothing")
    notes = Notes()
    train_captioner(
        tiny("data.world_share=0.1", "loop.steps=3", "loop.eval_every=0"),
        clips=clips, out=tmp_path / "run", device="cpu", reporter=notes,
    )  # fmt: skip
    assert any("1 clips could not be read" in note for note in notes.said)
    for path in clips.parent.glob("s*.*"):
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of the clips can be decoded"):
        train_captioner(tiny("data.world_share=0"), clips=clips, out=tmp_path / "other", device="cpu")


def test_what_cannot_be_learnt_from_is_refused_at_once(tmp_path, clips):
    text = clips.read_text().replace('"caption": "blocks', '"caption": "", "original_caption": "blocks')
    clips.write_text(text)
    for manifest, recipe, error, says in (
        (clips, tiny(CLIPS), DataError, "no clip of the split 'train' has a caption to learn from"),
        (clips, tiny(), UsageError, "world_share = 1 leaves all samples to the world"),
        (None, tiny("data.world_share=0"), DataError, "give --clips"),
    ):
        with pytest.raises(error, match=says):
            plan_captioner(recipe.recipe, clips=manifest, out=tmp_path / "run")
        with pytest.raises(error, match=says):
            train_captioner(recipe, clips=manifest, out=tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match=r"stages\[0\].batch_size = 4 does not divide among 3 ranks: use 6"):
        pipeline.check_shares(tiny().recipe, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("data.scene_frames=2", "is below num_frames of a stage"),
        ("data.stages=[{until_step=3, num_frames=3}]", "has none for step 3"),
        ("data.stages=[{batch_size=1, num_frames=3}]", "must be at least 2, got 1"),
        ("captioner.num_heads=5", "times num_heads"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change, says):
    with pytest.raises(RecipeError, match=says):
        tiny(change)


def test_the_shipped_recipe_fits_its_size(tmp_path):
    loaded = load_recipe(CaptionTrainRecipe, find_recipe("nano/captioner"), [])
    plan = plan_captioner(loaded.recipe, clips=None, out=tmp_path / "run", device="cpu")
    assert plan.model_bytes < 5.9e6 and plan.scene_bytes < 2 * 2**30 and not plan.resumes
    assert not (tmp_path / "run").exists()
    assert torch.get_default_dtype() == torch.float32
