"""``sora doctor``: its output for findings made up here, and on the machine of the test."""

from __future__ import annotations

import json

import pytest

from soracli.cli.app import main
from soracli.pipelines import doctor
from soracli.pipelines.doctor import Finding


def test_a_whole_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("python", "3.11"), Finding("gpu", "none", advice="fine for nano")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == 0
    assert capsys.readouterr() == ("part    found\npython  3.11\ngpu     none\nnote: gpu: fine for nano\n", "")


def test_a_missing_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("ffmpeg", "missing: no binary", ok=False, advice="pip install imageio-ffmpeg")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == 5
    out, error = capsys.readouterr()
    assert out.splitlines()[-1] == "missing: ffmpeg: pip install imageio-ffmpeg"
    assert error == "sora: error: missing here: ffmpeg; the lines above say what to do\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["python"]["ok"]
    assert found["ffmpeg"]["value"]
