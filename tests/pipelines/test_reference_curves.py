"""References: what is read of a run and kept in a file, and files that are none."""

import json
import math
from pathlib import Path

import pytest

from soracli.core.errors import ArtifactError
from soracli.pipelines.recipes import RECIPES
from soracli.pipelines.reference_curves import (
    make_reference,
    read_reference,
    read_run,
    this_machine,
    write_reference,
)
from tests.pipelines.made_up_runs import make_run


def test_a_run_is_read_line_by_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=400, seed=7, broken_from=390)
    found = read_run(run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (found.kind, found.seed, found.steps) == ("vae.train", 7, 2000)
    assert set(found.metrics) == {"loss", "psnr", "gradient_norm", "held_out_psnr"}
    assert found.metrics["psnr"] == [(line["step"], line["psnr"]) for line in lines if "psnr" in line]
    assert [step for step, _ in found.metrics["held_out_psnr"]] == [200, 400]
    assert math.isnan(found.metrics["loss"][-1][1]) and found.times[-1] == (400, 200.0)
    recipe = RECIPES["vae.train"]().model_dump(mode="json")
    assert "clips" not in found.recipe and found.recipe["optimiser"] == recipe["optimiser"]


def test_steps_that_were_done_again_count_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=100)
    again = '{"step": 50, "seconds": 60, "loss": 5.0}\n{"step": 60, "seconds": 61, "loss": 6.0}\n{"step": 7'
    with (run / "metrics.jsonl").open("a") as file:
        file.write(again)
    found = read_run(run)
    assert found.metrics["loss"][4:6] == [(50, 5.0), (60, 6.0)] and len(found.metrics["loss"]) == 10
    assert [step for step, _ in found.metrics["loss"]] == list(range(10, 101, 10))


@pytest.mark.parametrize("kind", ["vae.train", "dit.train", "judge.train"])
def test_a_reference_is_written_and_read(tmp_path: Path, kind: str) -> None:
    run = read_run(make_run(tmp_path / "run", kind=kind, seed=3))
    reference = make_reference(run, "2 cores")
    path = tmp_path / "new/reference.json"
    write_reference(path, reference)
    found = read_reference(path)
    assert (found.kind, found.seed, found.steps, found.seconds, found.hardware) == (kind, 3, 2000, 1000, "2 cores")
    assert found.recipe == json.loads(json.dumps(run.recipe)) and found.made_by == reference.made_by
    assert found.final == pytest.approx({name: values[-1][1] for name, values in run.metrics.items()}, rel=1e-5)
    for name, curve in reference.curves.items():
        assert len(curve.steps) <= 100 and found.curves[name].steps == curve.steps
        assert found.curves[name].values == pytest.approx(curve.values, rel=1e-5)
        assert found.curves[name].scatter == pytest.approx(curve.scatter, rel=1e-5)
        assert found.curves[name].counts == curve.counts
    assert len(found.times) <= 100 and found.times[-1] == (2000, 1000)
    text = path.read_text()
    assert len(text) < 40_000 and len(text.splitlines()) < 30 and str(tmp_path) not in text


def test_numbers_of_the_recipe_are_kept_to_the_last_digit(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", changes={"optimiser": {"learning_rate": 0.123456789012}})
    write_reference(tmp_path / "r.json", make_reference(read_run(run), ""))
    assert read_reference(tmp_path / "r.json").recipe["optimiser"]["learning_rate"] == 0.123456789012


def test_a_metric_that_is_nowhere_finite_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", broken_from=0)
    found = make_reference(read_run(run), "")
    assert "loss" not in found.curves and "loss" not in found.final and "psnr" in found.curves
    (run / "metrics.jsonl").write_text('{"step": 1, "seconds": 1, "loss": "nan"}\n')
    with pytest.raises(ArtifactError, match="no finite figure"):
        make_reference(read_run(run), "")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"none is no run of a training"):
        read_run(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"is no run of a training"):
        read_run(run / "run.json")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ArtifactError, match="measured nothing yet"):
        read_run(run)
    for text in ("{", "[]", '{"resolved": {"kind": "latents.cache"}}'):
        (run / "run.json").write_text(text)
        with pytest.raises(ArtifactError, match="damaged, or of no training"):
            read_run(run)


def test_what_is_no_reference_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_reference(path, make_reference(read_run(make_run(tmp_path / "run")), ""))
    values = json.loads(path.read_text())

    def refused(said: str, text: str) -> None:
        path.write_text(text)
        with pytest.raises(ArtifactError, match=said):
            read_reference(path)

    refused("cannot be read", "{")
    refused("is no reference", "[]")
    refused("is no reference", '{"format": "sora-clips"}')
    refused("update sora", json.dumps({**values, "version": 2}))
    refused("cannot be read", json.dumps({**values, "curves": {"loss": {"steps": [1]}}}))
    for steps in ([2, 1], [1, 1], [1]):
        curve = {"steps": steps, "values": [1.0, 2.0], "counts": [1, 1], "scatter": [0.0, 0.0]}
        refused("must rise", json.dumps({**values, "curves": {"loss": curve}}))
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_reference(tmp_path)


def test_the_machine_has_a_name() -> None:
    cores, _, name = this_machine().partition(" cores of ")
    assert int(cores) >= 1 and name
