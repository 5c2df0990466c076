"""The whole state of a training: saved, loaded and gone on with, bit for bit the same as never stopped."""

import json

import pytest
import torch
from safetensors.torch import load_file

from soracli.core.errors import ArtifactError
from soracli.core.files import sha256_file
from soracli.training.config import LoopConfig, OptimiserConfig
from soracli.training.ema import build_ema
from soracli.training.optimiser import build_optimiser
from soracli.training.state import TrainState, begin_state, load_train_state, save_train_state
from tests.training.toy import build_toy


def made(name: str = "adamw") -> TrainState:
    model = build_toy().eval()
    config = OptimiserConfig(name=name, learning_rate=0.02, warmup_steps=2, weight_decay=0.1)  # type: ignore[arg-type]
    return TrainState(model, build_ema(model, 0.9), build_optimiser(model.named_parameters(), config))


def go_on(state: TrainState, until: int, spikes: frozenset[int] = frozenset()) -> None:
    while state.step < until:
        samples = torch.randn(4, 6, generator=torch.Generator().manual_seed(state.step))
        samples *= 100 if state.step in spikes else 1
        loss = (state.model(samples) - samples.flip(1)).square().mean()
        loss.backward()
        if state.optimiser.step(state.step, 10, float(loss.detach())).applied:
            state.average()
        state.step += 1


@pytest.mark.row(18)
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_stopped_and_gone_on_is_never_stopped(tmp_path, name):
    whole = made(name)
    go_on(whole, 8)
    for stop in (3, 5):
        state = made(name)
        assert load_train_state(tmp_path, state, lambda text: None) == (stop == 5)
        go_on(state, stop)
        save_train_state(tmp_path, state, keep=2)
    state = made(name)
    load_train_state(tmp_path, state, lambda text: None)
    assert state.step == 5
    go_on(state, 8)
    for one, other in ((whole.model, state.model), (whole.ema, state.ema)):
        for key, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[key]), key


@pytest.mark.row(18)
def test_what_counts_as_a_spike_is_saved_too(tmp_path):
    """Norms before the stop decide about an update after it."""

    def fresh() -> TrainState:
        model = build_toy().eval()
        config = OptimiserConfig(learning_rate=1e-4, spike_ratio=10, schedule="constant")
        optimiser = build_optimiser(model.named_parameters(), config)
        return begin_state(model, optimiser, LoopConfig(ema_decay=0.9, ema_decays=(0.5, 0.9)))

    spikes = frozenset({22, 24})
    whole, first, second = fresh(), fresh(), fresh()
    go_on(whole, 26, spikes)
    assert whole.optimiser.spikes == 2
    go_on(first, 23, spikes)
    save_train_state(tmp_path, first, keep=1)
    load_train_state(tmp_path, second, lambda text: None)
    go_on(second, 26, spikes)
    assert second.optimiser.spikes == 2 and second.optimiser.norms == whole.optimiser.norms
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    for decay, average in whole.averages.items():
        for name, tensor in average.state_dict().items():
            assert torch.equal(tensor, second.averages[decay].state_dict()[name])


def test_what_is_fixed_is_left_out_and_found_again(tmp_path):
    def fresh() -> TrainState:
        model = build_toy().eval()
        model.hidden.requires_grad_(False)
        optimiser = build_optimiser(model.named_parameters(), OptimiserConfig())
        return begin_state(model, optimiser, LoopConfig(), fixed=frozenset({"hidden.weight", "hidden.bias"}))

    one, other = fresh(), fresh()
    assert one.ema.module.hidden.weight.data_ptr() == one.model.hidden.weight.data_ptr()  # type: ignore[union-attr]
    go_on(one, 3)
    path = save_train_state(tmp_path, one, keep=1)
    for part in ("model", "ema"):
        assert not any(name.startswith("hidden") for name in load_file(path / f"{part}.safetensors"))
    load_train_state(tmp_path, other, lambda text: None)
    for module, twin in ((one.model, other.model), (one.ema, other.ema)):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, twin.state_dict()[name]), name


def test_nothing_there_is_a_new_run(tmp_path):
    assert not load_train_state(tmp_path / "none", made(), lambda text: None)
    assert not load_train_state(tmp_path, made(), lambda text: None)


@pytest.mark.parametrize("part", ["model", "ema", "optimiser"])
def test_a_missing_part_is_named(tmp_path, part):
    """A checkpoint that says it is whole without it."""
    state = made()
    go_on(state, 1)
    path = save_train_state(tmp_path, state, keep=1)
    (path / f"{part}.safetensors").unlink()
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["files"][f"{part}.safetensors"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"lacks '{part}'"):
        load_train_state(tmp_path, made(), lambda text: None)


def test_a_missing_number_is_named(tmp_path):
    state = made()
    go_on(state, 1)
    path = save_train_state(tmp_path, state, keep=1)
    (path / "state.json").write_text("{}")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["state.json"] = {"bytes": 2, "sha256": sha256_file(path / "state.json")}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="lacks 'ema_updates'"):
        load_train_state(tmp_path, made(), lambda text: None)
