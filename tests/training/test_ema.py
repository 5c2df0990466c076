"""The moving average against timm's ModelEmaV3, a closed form, and itself after saving."""

import torch
from timm.utils import ModelEmaV3
from torch import nn

from soracli.training.ema import average_name, build_averages, build_ema, decay_at, ema_tensors, load_ema


def move(model: nn.Module, step: int) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))


def test_is_timms_when_warm():
    model = nn.Linear(3, 2)
    ours, theirs = build_ema(model, 0.05), ModelEmaV3(model, decay=0.05)  # below the first warm-up value of 0.1
    for step in range(6):
        move(model, step)
        ours.update_parameters(model)
        theirs.update(model) if step else theirs.set(model)
    for one, other in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)
        assert not one.requires_grad


def test_warm_up_in_closed_form():
    model = nn.Linear(1, 1, bias=False)
    ema = build_ema(model, 0.99)
    expected = 0.0
    for step in range(40):
        with torch.no_grad():
            model.weight.fill_(float(step))
        ema.update_parameters(model)
        decay = 0.0 if step == 0 else min(0.99, step / (9 + step))  # n = step - 1 updates so far
        expected = decay * expected + (1 - decay) * step
    assert abs(float(ema.module.weight) - expected) < 1e-4
    assert decay_at(10**6, 0.99) == 0.99


def test_several_are_each_as_alone():
    model = nn.Linear(3, 2)
    alone = {decay: build_ema(model, decay) for decay in (0.0, 0.5, 0.99)}
    several = build_averages(model, 0.5, tuple(alone))
    assert list(several) == ["ema_0.0", "ema_0.5", "ema_0.99"] and list(build_averages(model, 0.5)) == ["ema"]
    for step in range(200):
        move(model, step)
        for average in (*alone.values(), *several.values()):
            average.update_parameters(model)
    for decay, average in alone.items():
        assert torch.equal(average.module.weight, several[average_name(decay, tuple(alone))].module.weight)
    assert torch.equal(several["ema_0.0"].module.weight, model.weight)
    assert not torch.equal(several["ema_0.5"].module.weight, several["ema_0.99"].module.weight)


def test_goes_on_bit_for_bit_after_saving():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    one = build_ema(model, 0.999)
    for step in range(5):
        move(model, step)
        one.update_parameters(model)
    assert set(ema_tensors(one)) == set(model.state_dict())
    other = build_ema(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 0.999)
    load_ema(other, {name: tensor.clone() for name, tensor in ema_tensors(one).items()}, int(one.n_averaged))
    for step in range(5, 8):
        move(model, step)
        one.update_parameters(model)
        other.update_parameters(model)
    for name, tensor in ema_tensors(one).items():
        assert torch.equal(tensor, ema_tensors(other)[name])
