"""The race of VAEs: counted work against a count by hand, shapes against real latents, a whole run with its file."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from soracli.models.layers.causal import SpaceConv, TimeConv
from tests.models.tiny import random_frames, tiny_vae


@pytest.fixture
def race(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = repository / "benchmarks/vae.py"
    spec = importlib.util.spec_from_file_location("benchmarks_vae", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_vae", module)
    spec.loader.exec_module(module)
    return module


def test_work_is_counted_as_by_hand(race: ModuleType) -> None:
    """Two operations for each weight of a convolution at each place; all of our multiplications are convolutions."""
    vae, frames = tiny_vae(), random_frames(1, 3, 9, 16, 24)
    by_hand = {"encode": 0, "decode": 0}
    way = "encode"

    def count(layer: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        by_hand[way] += 2 * layer.conv.weight.numel() * out[..., 0].numel()  # type: ignore[operator]

    found = race.count_work(vae, frames)
    for layer in vae.modules():
        if isinstance(layer, SpaceConv | TimeConv):
            layer.register_forward_hook(count)
    with torch.no_grad():
        latents = vae.encode(frames)[0]
        way = "decode"
        vae.decode(latents)
    assert found == {name: pytest.approx(total / 9 / 1e9) for name, total in by_hand.items()}
    assert race.latent_shape(race.Contender("tiny", "vae"), vae, frames) == list(latents.shape)


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed")
def test_rivals_have_their_published_sizes(race: ModuleType) -> None:
    """Parameters, and latents on shapes alone: nothing is computed."""
    import diffusers

    frames = torch.zeros(1, 3, 17, 128, 128, device="meta")
    for name, millions, shape in (
        ("wan", 126.9, [1, 16, 5, 16, 16]),
        ("cogvideox", 215.6, [1, 16, 5, 16, 16]),
        ("ltx", 419.2, [1, 128, 3, 4, 4]),
    ):
        with torch.device("meta"):
            vae = getattr(diffusers, race.RIVALS[name])()
        assert sum(map(torch.numel, vae.parameters())) / 1e6 == pytest.approx(millions, abs=0.1)
        assert race.latent_shape(race.Contender(name, "rival"), vae, frames) == shape
        with torch.no_grad():
            assert list(race.ways(vae)["encode"](frames).shape) == shape


def test_inputs_that_do_not_fit_all_are_refused(race: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--frames", "16"], ["--size", "128x72"]):
        with pytest.raises(SystemExit):
            race.parse(arguments)
        assert "frames must be 1 + 8 k and sides multiples of 32" in capsys.readouterr().err


@pytest.mark.slow
def test_a_race_of_one(race: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--rivals", "--frames", "9", "--size", "32x32", "--threads", "1"]
    assert race.main([*small, "--repeats", "2", "--json", "found.json"]) == 0
    (found,) = json.loads(Path("found.json").read_text())["vaes"]
    assert found["name"] == "nano/vae" and found["finite"]
    assert len(found["seconds"]["encode"]) == len(found["seconds"]["decode"]) == 2
    assert 0 < found["peak_bytes"]["idle"] <= found["peak_bytes"]["decode"]
    assert "nano/vae" in capsys.readouterr().out
    assert race.main([*small, "--profile"]) == 0
    assert "aten::" in capsys.readouterr().out
