"""Optimiser state by name: a restored optimiser steps bit for bit like the one that was saved; misfits are named."""

import json

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.training.config import OptimiserConfig
from soracli.training.optimiser import Optimiser, build_optimiser
from soracli.training.optimiser_state import flatten_optimiser, unflatten_optimiser
from tests.training.test_optimiser import gradients_for
from tests.training.toy import Toy, build_toy


def made(name: str) -> tuple[Toy, Optimiser]:
    model = build_toy()
    return model, build_optimiser(model.named_parameters(), OptimiserConfig(name=name, warmup_steps=0))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_restored_optimiser_steps_alike(name):
    model, optimiser = made(name)
    for step in range(3):
        gradients_for(model, step)
        model.unused.weight.grad = model.unused.bias.grad = None  # never stepped: no state
        optimiser.step(step, 10, 1.0)
    optimiser.skipped = 2
    tensors, record = flatten_optimiser(optimiser)
    assert not any("unused" in key for key in tensors)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}

    other_model, other = made(name)
    other_model.load_state_dict(model.state_dict())
    unflatten_optimiser(other, tensors, json.loads(json.dumps(record)))
    assert other.skipped == 2
    for step in range(3, 6):
        for one, its in ((model, optimiser), (other_model, other)):
            gradients_for(one, step)
            its.step(step, 10, 1.0)
    for one, its in zip(model.parameters(), other_model.parameters(), strict=True):
        assert torch.equal(one, its)
    assert all(
        torch.equal(one, flatten_optimiser(other)[0][key]) for key, one in flatten_optimiser(optimiser)[0].items()
    )


def test_misfits_are_named_and_change_nothing():
    model, optimiser = made("adamw")
    gradients_for(model, 0)
    optimiser.step(0, 10, 1.0)
    tensors, record = flatten_optimiser(optimiser)
    key = "adamw/hidden.weight/exp_avg"

    def refused(changed, match, record=record):
        fresh = made("adamw")[1]
        with pytest.raises(ArtifactError, match=match):
            unflatten_optimiser(fresh, changed, record)
        assert not flatten_optimiser(fresh)[0]

    refused({name: tensor for name, tensor in tensors.items() if name != key}, f"{key} is missing")
    refused({**tensors, key: torch.zeros(3, 3)}, r"hidden.weight/exp_avg is \(3, 3\), the weight \(8, 8\)")
    refused({**tensors, "adamw/ghost/exp_avg": torch.zeros(1)}, "adamw/ghost/exp_avg is not listed")
    ghost = {**record, "fields": {**record["fields"], "adamw/ghost": {"exp_avg": "tensor"}}}
    refused(tensors, "adamw/ghost is not in this model's optimiser", ghost)
    muon = made("muon")[1]
    with pytest.raises(ArtifactError, match=r"adamw/hidden.weight is not in this model"):
        unflatten_optimiser(muon, tensors, record)
