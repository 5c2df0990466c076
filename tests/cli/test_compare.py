"""``sora compare``: what it prints and writes, exit codes, and what it refuses."""

import json
from pathlib import Path

import pytest

import soracli
from soracli.cli.app import main
from soracli.pipelines.reference_curves import read_reference, this_machine
from tests.pipelines.made_up_runs import make_run


@pytest.fixture
def reference(workspace: Path, capsys: pytest.CaptureFixture[str]) -> str:
    make_run(workspace / "first", seed=1)
    assert main(["compare", "first", "--write", "r.json", "--hardware", "one core"]) == 0
    assert capsys.readouterr().out == "r.json\n"
    return "r.json"


def test_write_makes_a_reference(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_reference(Path(reference)).hardware == "one core"
    assert main(["compare", "first", "--write", "r.json"]) == 2
    assert capsys.readouterr().err == "sora: error: r.json exists; give another name, or --overwrite\n"
    assert main(["compare", "first", "--write", "r.json", "--overwrite"]) == 0
    assert read_reference(Path(reference)).hardware == this_machine()


def test_a_table_and_the_verdict_last(workspace: Path, reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(workspace / "slow", seed=2, speed=0.5, steps=1000, changes={"optimiser": {"betas": [0.9, 0.95]}})
    assert main(["compare", "slow", reference]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("slow: step 1000 in 8m 20s; the reference was there in 8m 20s, of 2000 steps, on one core")
    assert lines[1] == "seed: 2 (reference 1)"
    assert lines[2] == ("recipe, so curves need not agree: optimiser.betas = [0.9, 0.95] (reference [0.9, 0.99])")
    assert lines[3].split()[:5] == ["metric", "step", "run", "reference", "tolerance"]
    rows = {line.split()[0]: line for line in lines[4:8]}
    assert list(rows)[-1] == "gradient_norm" and set(rows) == {"loss", "psnr", "held_out_psnr", "gradient_norm"}
    assert " steps" in rows["loss"] and "behind by" in rows["loss"] and "behind" not in rows["gradient_norm"]
    assert rows["psnr"].count("█") > 0 and "1000" in rows["psnr"] and "of 50" in rows["psnr"]
    assert lines[8].startswith("protocol: ") and lines[9].startswith("behind by ") and len(lines) == 10


def test_curves_are_drawn_to_the_step_where_the_run_is(
    workspace: Path, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(workspace / "half", seed=2, steps=1000)
    assert main(["compare", "half", reference]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("psnr"))
    drawn = [word for word in row.split() if set(word) <= set("▁▂▃▄▅▆▇█")]
    assert [len(word) for word in drawn] == [10, 20]
    assert drawn[1][0] == "▁" and drawn[1][-1] == "█"
    assert sum(abs(ord(a) - ord(b)) for a, b in zip(*drawn, strict=False)) <= 3


def test_json(workspace: Path, reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(workspace / "broken", broken_from=100, steps=500)
    assert main(["compare", "broken", reference, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["state"] == "diverged" and report["metrics"][0]["name"] == "loss"


def test_references_by_the_name_of_a_recipe(
    workspace: Path, reference: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = workspace / "site/soracli/recipe_files/nano/reference/vae.json"
    target.parent.mkdir(parents=True)
    target.write_bytes(Path(reference).read_bytes())
    monkeypatch.setattr(soracli, "__file__", str(workspace / "site/soracli/__init__.py"))
    assert main(["compare", "first", "nano/vae"]) == 0
    out = capsys.readouterr().out
    assert "seed: 1, as the reference" in out and out.splitlines()[-1].startswith("on track: 3 of 3")


def test_what_is_refused(workspace: Path, reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, said in (
        (["first"], 2, "name a REFERENCE"),
        (["first", reference, "--write", "s.json"], 2, "name a REFERENCE"),
        (["first", reference, "--hardware", "x"], 2, "it goes with --write FILE"),
        (["first", "--write", "s.txt"], 2, "try s.json"),
        (["none", reference], 4, "none is no run of a training"),
        (["first", "nano/none"], 2, "no reference 'nano/none'"),
        (["first", "first/metrics.jsonl"], 4, "cannot be read as a reference"),
    ):
        assert main(["compare", *arguments]) == code, arguments
        out, error = capsys.readouterr()
        assert out == "" and said in error and error.count("\n") == 1
