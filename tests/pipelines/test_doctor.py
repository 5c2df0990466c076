"""What the doctor finds, against this interpreter, and against parts taken away."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from soracli.pipelines.doctor import OPTIONAL, REQUIRED, Finding, examine


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_this_machine() -> None:
    findings = found()
    assert findings["python"].value == platform.python_version()
    assert findings["torch"].value == torch.__version__
    assert findings["torch threads"].value == str(torch.get_num_threads())
    assert findings["numpy"].value == importlib.metadata.version("numpy")
    assert "ffmpeg" in findings["ffmpeg"].value
    assert "GiB free" in findings["disk here"].value
    assert all(findings[name].ok for name in ("torch", "ffmpeg", "recipes", *REQUIRED))


def test_it_asks_for_exactly_what_the_package_depends_on(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    names = {dependency.partition(">")[0] for dependency in project["dependencies"]}
    assert names == {"torch", *REQUIRED}
    extras = [needs for name, needs in project["optional-dependencies"].items() if name != "dev"]
    assert set(OPTIONAL) == {need.partition(">")[0] for needs in extras for need in needs}


def test_torch_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = found()["torch"]
    assert not finding.ok
    assert finding.value.startswith("does not load: ")
    assert "pip" in finding.advice


def test_no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    finding = found()["ffmpeg"]
    assert not finding.ok
    assert "pip install imageio-ffmpeg" in finding.advice


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = found()
    assert not findings["timm"].ok
    assert findings["tensorboard"].ok, "nothing stops without it"
    assert "pip install tensorboard" in findings["tensorboard"].advice


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    finding = found()["disk here"]
    assert finding.value.startswith("1.0 GiB free in ")
    assert "free some" in finding.advice
