"""``sora dit eval``: what goes to the pipeline, tables with their protocol, JSON, refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soracli.cli.app import main
from soracli.cli.dit_eval_tables import show_report
from soracli.metrics.drift import Drift, WindowFigures
from soracli.metrics.intervals import wilson_share
from soracli.pipelines import evaluate_dit as module
from soracli.pipelines.evaluate_dit import DitReport
from soracli.pipelines.evaluate_drift import (
    GENERATED,
    RENDER,
    DriftFigures,
    DriftReport,
    LongFigures,
    LongVideo,
    Mean,
    WindowObjects,
    sliding_name,
)
from soracli.pipelines.evaluate_edits import MADE, TRUE, EditReport
from soracli.pipelines.evaluate_identity import IdentityReport
from soracli.pipelines.evaluate_names import NameShares, NamesReport
from soracli.pipelines.evaluate_obedience import GROUPS, SOURCES, ObedienceReport
from soracli.pipelines.evaluate_seams import SeamFigures, SeamReport

_WINDOW = WindowFigures(
    start=0,
    seconds=5,
    colour=(0.5, 0.5, 0.5),
    saturation=0.2,
    sharpness=0.1,
    contrast=0.1,
    colourfulness=0.3,
    motion=0.01,
    frozen=False,
)
_OBJECTS = WindowObjects(count=1.0, colours=0.5, sizes=None)

_SEAMS = SeamFigures(
    material="film",
    verb="loop",
    median=1.04,
    smooth=wilson_share(14, 16),
    smooth_for_a_camera=wilson_share(15, 16),
    worst=2.3456,
    plain_median=1.5,
    plain_smooth=wilson_share(8, 16),
    plain_smooth_for_a_camera=wilson_share(12, 16),
    plain_worst=7.0,
    kept=wilson_share(8, 8),
    kept_in_file=wilson_share(7, 8),
)
_ANSWERS = {name: wilson_share(30, 40) for name in ("changed", "kept", "both", "ground")}
_IDENTITY = {
    "generated": {"inside": {"seen again": wilson_share(3, 4), "kept": wilson_share(2, 4)}, "beyond": {}},
    "renders": {"inside": {"seen again": wilson_share(4, 4)}, "beyond": {"seen again": wilson_share(1, 4)}},
}
_EDITED = {MADE: dict(_ANSWERS), TRUE: {**_ANSWERS, "changed": wilson_share(39, 40)}}


def _long(sharpness: float) -> LongFigures:
    drift = Drift(colour=0.0123, saturation=-5.04, sharpness=sharpness, contrast=0.0, colourfulness=9.0)
    return LongFigures([_WINDOW] * 12, [_OBJECTS] * 12, drift=drift, largest_repeat=0.25, frozen=1)


def _report() -> DitReport:
    share = {"colour_and_shape": wilson_share(58, 64), "motion": wilson_share(50, 64)}
    shares = {source: {group: dict(share) for group in GROUPS} for source in SOURCES}
    del shares["generated"]["long"]["motion"]
    names = NameShares("thumbnails", *(wilson_share(right, 32) for right in (24, 30, 32, 32)))
    return DitReport(
        model="mine",
        settings={"fps": 12.0, "num_steps": 12, "model": "0123456789abcdef"},
        seed=0,
        judge="judges/one",
        judge_hash="fedcba9876543210",
        obedience=ObedienceReport([], shares, {"motion": wilson_share(300, 300)}, "prompts and seeds"),
        names=NamesReport([], 697, [names], "names and clips"),
        drift=DriftReport(
            [LongVideo("a red ball bounces", 0, {GENERATED: _long(-50.0), RENDER: _long(0.0)})],
            {
                GENERATED: DriftFigures({"sharpness": Mean(-50.0, 2.04), "count": Mean(12.5, 0.0)}, 0.9, 0.5),
                sliding_name(8): DriftFigures({"sharpness": Mean(-60.0, None)}, 0.7, 0.0),
            },
            "first and last",
        ),
        seams=SeamReport([], [_SEAMS], "steps at seams"),
        edits=EditReport([], _EDITED, {source: {"colour": wilson_share(5, 8)} for source in _EDITED}, "instructions"),
        identity=IdentityReport([], _IDENTITY, {"inside": 0.125}, "hidden and back"),
        picture="",
    )


def test_tables_and_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(_report())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine: fps 12, num_steps 12, model 0123456789ab"
    table = {line.split("  ")[0]: line for line in lines}
    assert table["colour and shape"].split()[3:5] == ["90.6", "[81-96]"]
    header = next(line for line in lines if "held out" in line)
    assert header.split("  ")[-1].strip() == "renders through the VAE" and "trained" in header
    assert " - " in table["motion"]  # nobody asks for it in long prompts here
    assert "the judge itself, on renders of one object: motion 100.0 [99-100]" in lines
    assert "judge: judges/one (fedcba987654)" in lines
    assert table["thumbnails"].split() == [
        "thumbnails",
        "75.0",
        "[58-87]",
        "93.8",
        "[80-98]",
        *["100.0", "[89-100]"] * 2,
    ]
    assert table["a red ball bounces"].split()[4:] == (
        ["generated", "0.012", "-50.0", "-5.0", "+0.0", "+9.0", "1", "of", "12", "0.25"]
    )
    beyond = ["-50.0", "(error", "2.0)", "+12.5", "(error", "0.0)", "0.90", "0.50"]
    assert table["generated"].split()[1:] == beyond
    assert table["sliding window of 8"].split()[4:] == ["-60.0", "-", "0.70", "0.00"]
    assert table["0-5"].split()[1:4] == ["0.100", "/", "0.100"] and table["0-5"].split()[-6:-3] == ["-", "/", "-"]
    protocols = [line for line in lines if line.startswith("protocol: ")]
    assert protocols[:3] == ["protocol: prompts and seeds", "protocol: names and clips", "protocol: first and last"]
    assert protocols[3:] == ["protocol: steps at seams", "protocol: instructions", "protocol: hidden and back"]
    assert table["seen again"].split()[2:] == ["75.0", "[30-95]", "-", "100.0", "[51-100]", "25.0", "[5-70]"]
    assert table["kept"].split()[1:] == ["50.0", "[15-85]", "-", "-", "-"] and "chance: inside 12.5" in lines
    assert any("generated, beyond" in line and "renders, inside" in line for line in lines)
    shares = ["87.5", "[64-97]", "93.8", "[72-99]"], ["50.0", "[28-72]", "75.0", "[51-90]"]
    kept = ["100.0", "[68-100]", "87.5", "[53-98]"]
    assert table["film"].split() == ["film", "loop", "1.04", *shares[0], "2.35", "1.50", *shares[1], "7.00", *kept]
    assert table["changed as asked"].split()[3:] == ["75.0", "[60-86]", "97.5", "[87-100]"]
    assert any(line.startswith("  ground kept") for line in lines) and any("colour: changed" in line for line in lines)


def test_options_go_to_the_pipeline(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    def pretend(model: Path, **given: Any) -> DitReport:
        given.pop("reporter")
        calls.append({"model": model, **given})
        return replace(_report(), names=None, drift=None, seams=None, edits=None, identity=None)

    monkeypatch.setattr(module, "evaluate_dit", pretend)
    Path("mine").mkdir()
    words = "--prompts 8 --seconds 2s --clips c.jsonl --emoji 4 --minutes 2 --seed 9 --out a.png --judge j --device cpu"
    words += (
        " --adapter a --seams 3 --seam-clips f.jsonl --seam-clips g.jsonl --edits 5 --identity 6 --sliding-window 8"
    )
    assert main(["dit", "eval", "mine", *words.split(), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["obedience"]["shares"]["generated"]["all"]["motion"]["right"] == 50 and answer["drift"] is None
    assert main(["dit", "eval", "mine"]) == 0
    assert "prompts obeyed" in capsys.readouterr().out
    assert calls[0] == {
        "model": Path("mine"),
        "prompts": 8,
        "seconds": 2.0,
        "clips": Path("c.jsonl"),
        "names": 4,
        "minutes": 2,
        "sliding_windows": [8],
        "seams": 3,
        "seam_clips": [Path("f.jsonl"), Path("g.jsonl")],
        "edits": 5,
        "identity": 6,
        "seed": 9,
        "judge": Path("j"),
        "adapter": Path("a"),
        "device": "cpu",
        "picture": Path("a.png"),
    }
    defaults = {"prompts": 64, "seconds": 4.0, "clips": None, "names": 32, "minutes": 0, "seed": 0, "judge": None}
    defaults |= {"adapter": None, "seams": 0, "seam_clips": (), "edits": 0, "identity": 0, "sliding_windows": ()}
    assert calls[1] == {"model": Path("mine"), "device": "auto", "picture": None, **defaults}


def test_refusals_are_one_line(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.png").touch()
    for arguments, code, said in (
        (["--prompts", "0"], 2, "nothing to evaluate"),
        (["--out", "there.png"], 2, "there.png exists; give another name, or --overwrite"),
        (["--out", "x.jpg"], 2, "try x.png"),
        (["--seconds", "soon"], 2, "--seconds 'soon' is no duration"),
        (["--judge", "nobody", "--device", "cpu"], 4, "nobody holds no judge"),
    ):
        assert main(["dit", "eval", ".", *arguments]) == code
        out, error = capsys.readouterr()
        assert out == "" and said in error and error.count("\n") == 1, error
