"""The optimiser against torch's AdamW and Muon stepped by hand, and the guard against numbers that are not finite."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from soracli.core.errors import NumericsError
from soracli.training.config import OptimiserConfig
from soracli.training.optimiser import build_optimiser, clip_gradients, is_matrix
from tests.training.toy import build_toy


def gradients_for(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_each_parameter_goes_where_it_belongs():
    model = build_toy()
    optimiser = build_optimiser(model.named_parameters(), OptimiserConfig(name="muon"))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adamw, muon = optimiser.parts["adamw"], optimiser.parts["muon"]
    assert [names[id(p)] for p in muon.param_groups[0]["params"]] == ["hidden.weight", "unused.weight"]
    decayed, plain = adamw.param_groups
    assert [names[id(p)] for p in decayed["params"]] == ["patch_embed.weight", "kernel.weight", "final.weight"]
    assert all(name.endswith("bias") or name.startswith("norm") for name in map(names.get, map(id, plain["params"])))
    assert plain["weight_decay"] == 0 < decayed["weight_decay"]


def test_gains_with_many_axes_are_no_matrices():
    assert not is_matrix(torch.ones(8, 1, 1, 1))
    assert is_matrix(torch.ones(8, 4, 1, 1, 1))


def test_adamw_is_torchs():
    ours, theirs = build_toy(), build_toy()
    config = OptimiserConfig(learning_rate=0.01, weight_decay=0.1, warmup_steps=0, schedule="constant", gradient_clip=0)
    optimiser = build_optimiser(ours.named_parameters(), config)
    matrices = [parameter for parameter in theirs.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in theirs.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99), foreach=False)
    for step in range(5):
        gradients_for(ours, step)
        gradients_for(theirs, step)
        assert optimiser.step(step, 5, 1.0).applied
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
        assert one.grad is None


def test_muon_is_torchs_with_the_size_of_adamws_updates():
    ours, theirs = build_toy(), build_toy()
    config = OptimiserConfig(name="muon", learning_rate=0.01, warmup_steps=0, schedule="constant", gradient_clip=0)
    optimiser = build_optimiser(ours.named_parameters(), config)
    reference = torch.optim.Muon([theirs.hidden.weight], lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    before = ours.hidden.weight.detach().clone()
    gradients_for(ours, 0)
    gradients_for(theirs, 0)
    optimiser.step(0, 1, 1.0)
    reference.step()
    # torch orthogonalises in bfloat16; tests/training/test_muon.py compares exactly with its algorithm in float64.
    torch.testing.assert_close(ours.hidden.weight, theirs.hidden.weight, atol=0.01 * 0.02, rtol=0)
    size = (ours.hidden.weight - before).pow(2).mean().sqrt().item() / 0.01
    assert 0.1 < size < 0.4  # 0.2 for exact orthogonalisation


def test_schedule_reaches_every_group():
    optimiser = build_optimiser(
        build_toy().named_parameters(),
        OptimiserConfig(name="muon", learning_rate=0.8, warmup_steps=3, schedule="constant"),
    )
    gradients_for_all = optimiser.names.values()
    for parameter in gradients_for_all:
        parameter.grad = torch.ones_like(parameter)
    assert optimiser.step(1, 10, 1.0).learning_rate == pytest.approx(0.4)
    assert {group["lr"] for part in optimiser.parts.values() for group in part.param_groups} == {0.4}


def test_clipping_reports_the_norm_before():
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.full((3,), 2.0), torch.full((4,), 1.0)
    assert clip_gradients(parameters, 0) == pytest.approx(4.0)
    assert clip_gradients(parameters, 1.0) == pytest.approx(4.0)
    assert clip_gradients(parameters, 0) == pytest.approx(1.0, abs=1e-5)
    assert clip_gradients([], 1.0) == 0


@pytest.mark.row(46)
@given(
    norms=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=150),
    ratio=st.floats(1.01, 20),
)
def test_spikes_are_those_of_a_plain_running_median(norms, ratio):
    """What is left out changes nothing but the counters; everything else moves the weights."""
    weight = nn.Parameter(torch.zeros(1))
    config = OptimiserConfig(spike_ratio=ratio, gradient_clip=0, warmup_steps=0, schedule="constant")
    optimiser = build_optimiser([("weight", weight)], config)
    plain = np.array([float(torch.tensor(norm)) for norm in norms])
    for step, norm in enumerate(norms):
        before = weight.detach().clone()
        weight.grad = torch.full((1,), norm)
        report = optimiser.step(step, len(norms), 1.0)
        spike = step >= 20 and plain[step] > ratio * np.median(plain[max(0, step - 100) : step])
        assert report.applied == (not spike) == (not torch.equal(weight, before))
        assert weight.grad is None
    assert report.skipped_updates == optimiser.spikes and optimiser.skipped == 0


def test_a_change_that_stays_is_no_spike_for_long():
    weight = nn.Parameter(torch.zeros(1))
    optimiser = build_optimiser([("weight", weight)], OptimiserConfig(spike_ratio=5, max_skipped_steps=3))
    applied = []
    for step in range(300):
        weight.grad = torch.full((1,), 1.0 if step < 150 else 10.0)
        applied.append(optimiser.step(step, 300, 1.0).applied)
    assert all(applied[:150]) and applied[150:].index(True) == 50 and all(applied[200:])


@pytest.mark.row(43)
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_steps_that_are_not_finite_change_nothing_and_end_the_run_in_the_end(bad):
    model = build_toy()
    optimiser = build_optimiser(model.named_parameters(), OptimiserConfig(max_skipped_steps=3))
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def one_step(step: int, broken: bool) -> bool:
        gradients_for(model, step)
        if broken and bad == "gradient":
            model.hidden.weight.grad[0, 0] = math.inf
        return optimiser.step(step, 10, math.nan if broken and bad == "loss" else 1.0).applied

    assert not one_step(0, True)
    assert not one_step(1, True)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))
    assert one_step(2, False)  # a good step starts the count anew
    assert not one_step(3, True)
    assert not one_step(4, True)
    assert optimiser.skipped == 4
    with pytest.raises(NumericsError, match=r"3 steps in a row \(step 6.*optimiser.learning_rate"):
        one_step(5, True)
