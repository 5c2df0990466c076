"""A run stopped at any step and resumed from its files equals one never stopped, bit for bit."""

import pytest
import torch

from tests.training.toy import train_toy


@pytest.mark.row(18)
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("stops", [[1], [5, 6], [3, 8, 11]])
def test_resumed_is_uninterrupted(tmp_path, optimiser, stops):
    whole, losses = train_toy(None, 12, optimiser)
    for stop in stops:
        train_toy(tmp_path, stop, optimiser)
    resumed, resumed_losses = train_toy(tmp_path, 12, optimiser)
    assert resumed_losses == losses
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    assert losses[-1] < losses[0]
