"""What a run goes on with, and what it refuses: another recipe, other clips, an end that was reached."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from soracli.core.errors import ArtifactError, RecipeError, Stopped, UsageError
from soracli.data.manifest import Clip, write_manifest
from soracli.pipelines import train_dit as pipeline
from soracli.pipelines import train_vae as vae_pipeline
from soracli.pipelines.train_dit import train_dit
from soracli.pipelines.train_vae import train_vae
from tests.faults.test_checkpoints import Meanwhile
from tests.pipelines.runs import Notes, StopAfter, assert_same_run, dit_recipe, figures, make_cache, vae_recipe, weights

CLIP = Clip(
    path="a.mp4", start=0.0, num_frames=8, fps=8.0, height=32, width=32, seconds=1.0, caption="a ball",
    sha256="0" * 64, clip_id="0" * 32, kind="video", split="train", original_name="a.mp4",
)  # fmt: skip


def train(folder: Path, name: str, *changes: str, **options: object) -> Path:
    return train_dit(
        dit_recipe("optimiser.schedule=constant", *changes),
        latents=folder / "latents",
        vae=folder / "vae",
        out=folder / name,
        device="cpu",
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.row(23, 12)
def test_a_fork_begins_where_the_other_run_is_and_leaves_it_alone(tmp_path: Path) -> None:
    make_cache(tmp_path)
    old = train(tmp_path, "old", "loop.steps=3")
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    slower = ("loop.steps=5", "optimiser.learning_rate=0.001")
    with pytest.raises(RecipeError, match=r"optimiser\.learning_rate = 0\.003, now 0\.001: .* --fork NEWRUN"):
        train(tmp_path, "old", *slower)
    notes = Notes()
    new = train(tmp_path, "new", *slower, fork_of=old, reporter=notes)
    assert "optimiser.learning_rate is now 0.001 (was 0.003)" in notes.said
    assert f"going on with {new} after step 3" in notes.said
    assert figures(new)[:3] == figures(old) and len(figures(new)) == 5
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    assert json.loads((new / "run.json").read_text())["forked_from"] == {"run": str(old), "step": 3}

    train(tmp_path, "new", "loop.steps=6", *slower[1:])  # the fork is a run like any other
    assert len(figures(new)) == 6 and "forked_from" in json.loads((new / "run.json").read_text())
    with pytest.raises(UsageError, match="new is a run already: go on with it by --out"):
        train(tmp_path, "new", *slower, fork_of=old)
    with pytest.raises(UsageError, match="nowhere is no run"):
        train(tmp_path, "third", fork_of=tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"does not fit this model: dit\..*; .* and \d+ more"):
        train(tmp_path, "wider", "dit.hidden_size=48", "loop.steps=4", fork_of=old)


@pytest.mark.row(24)
def test_other_clips_in_the_same_list_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_pipeline, "_STATISTICS_SAMPLES", 8)
    manifest, out = tmp_path / "clips.jsonl", tmp_path / "run"
    write_manifest(manifest, [CLIP], {})

    def go_on() -> None:
        train_vae(vae_recipe("loop.steps=1"), clips=manifest, out=out, device="cpu")

    go_on()
    go_on()
    write_manifest(manifest, [CLIP, replace(CLIP, path="b.mp4", clip_id="1" * 32)], {})
    with pytest.raises(RecipeError, match=r"began with clips_content\.count = 1, now 2"):
        go_on()
    write_manifest(manifest, [replace(CLIP, sha256="1" * 64)], {})
    with pytest.raises(RecipeError, match=r"began with clips_content\.sha256"):
        go_on()
    record = json.loads((out / "run.json").read_text())
    del record["resolved"]["clips_content"]  # of a run that is older than this
    (out / "run.json").write_text(json.dumps(record))
    go_on()


@pytest.mark.row(25)
def test_a_stop_at_the_end_or_before_the_beginning_doubles_nothing(tmp_path: Path) -> None:
    make_cache(tmp_path)
    whole = train(tmp_path, "whole")
    last = train(tmp_path, "last", reporter=StopAfter(1 + 6))  # in its last step: it is done
    assert_same_run(whole, last)
    assert not (last / "stopped").exists()
    notes = Notes()
    train(tmp_path, "last", reporter=notes)
    assert f"already done: {last} is at step 6 of 6; its model is written once more" in notes.said
    assert_same_run(whole, last)

    early = Meanwhile(lambda: os.kill(os.getpid(), signal.SIGTERM))  # before its first step
    with pytest.raises(Stopped, match="SIGTERM after step 1:"):
        train(tmp_path, "early", reporter=early)
    assert_same_run(whole, train(tmp_path, "early"))


@pytest.mark.row(19)
@pytest.mark.parametrize("changes", [(), ("samples.max_tokens=200",)])
def test_three_stops_change_no_sample_and_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    """Samples are not dealt out by epochs but drawn for each step: none is seen twice, and none is left out."""
    make_cache(tmp_path)
    seen: list[tuple[int, str]] = []
    draw = pipeline.draw_batch

    def listening(sampler, tokenizer, recipe, step, world):  # type: ignore[no-untyped-def]
        parts = draw(sampler, tokenizer, recipe, step, world)
        seen.extend((step, sha256(tokens.patches.numpy().tobytes()).hexdigest()) for tokens, _ in parts)
        return parts

    monkeypatch.setattr(pipeline, "draw_batch", listening)
    train(tmp_path, "whole", *changes)
    expected = seen.copy()
    seen.clear()
    for steps in (1, 2, 1):
        with pytest.raises(Stopped):
            train(tmp_path, "parts", *changes, reporter=StopAfter(1 + steps))
    train(tmp_path, "parts", *changes)
    assert seen == expected and [step for step, _ in seen] == list(range(6))
    assert len({content for _, content in seen}) == 6


@pytest.mark.row(22)
def test_threads_and_how_often_is_saved_may_change(tmp_path: Path) -> None:
    """There are no workers that prefetch: what a step sees is a function of the seed and the step."""
    make_cache(tmp_path)
    whole = train(tmp_path, "whole")
    with pytest.raises(Stopped):
        train(tmp_path, "parts", "loop.save_every=5", reporter=StopAfter(1 + 3))
    parts = train(tmp_path, "parts", "loop.save_every=1", "loop.keep_checkpoints=4", "loop.rank_timeout=30")
    assert figures(parts) == figures(whole) and weights(parts).keys() == weights(whole).keys()
    assert_same_run(whole, parts)
