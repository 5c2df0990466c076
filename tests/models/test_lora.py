"""Adapters against the matrices they stand for: nothing at the start, merged the same, and nothing else learns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from soracli.core.errors import ArtifactError, UsageError
from soracli.models.config import LoRAConfig
from soracli.models.lora import LoRALinear, add_adapters, merge_adapter
from soracli.models.tokens import Sample, Tokens, pack_tokens
from tests.models.tiny import piece, stir, tiny_dit, tiny_text

LAYERS = ["dit.blocks.*.attention.*", "dit.blocks.*.mlp.*", "dit.blocks.1.*", "dit.final", "text.*", "*"]


class Both(nn.Module):
    """A DiT with its text encoder, as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.dit, self.text = tiny_dit(), tiny_text()

    def forward(self, tokens: Tokens) -> torch.Tensor:
        velocities: torch.Tensor = self.dit(tokens, self.text(tokens.text, tokens.text_lengths))[0]
        return velocities


def packed() -> Tokens:
    pieces = (piece(2, 1, True), piece(1, 2, False, t=0.5, start=2))
    return pack_tokens([Sample(torch.tensor([1, 5, 9]), pieces)], (1, 2, 2), (8, 8))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@settings(max_examples=15)
@given(rank=st.integers(1, 40), layers=st.lists(st.sampled_from(LAYERS), min_size=1), bfloat16=st.booleans())
def test_an_adapter_changes_nothing_at_the_start(rank, layers, bfloat16):
    model = Both()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        before = model(packed())
        add_adapters(model, LoRAConfig(rank=rank, layers=tuple(layers)), seeded())
        assert any(isinstance(layer, LoRALinear) for layer in model.modules())
        assert torch.equal(model(packed()), before)


@settings(max_examples=15)
@given(
    rank=st.integers(1, 40),
    alpha=st.floats(0.1, 64),
    layers=st.lists(st.sampled_from(LAYERS), min_size=1),
    whole=st.lists(st.sampled_from(["dit.final*", "text.*", "*bias"])),
)
def test_merged_is_unmerged(rank, alpha, layers, whole):
    """To rounding, with everything that learns stirred; and what is merged has the names of the model itself."""
    plain, adapted = Both(), Both()
    names = add_adapters(
        adapted, LoRAConfig(rank=rank, alpha=alpha, layers=tuple(layers), whole=tuple(whole)), seeded()
    )
    before = adapted(packed()).detach()
    with torch.no_grad():
        for number, name in enumerate(names):
            weight = adapted.get_parameter(name)
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    adapter = {name: adapted.state_dict()[name] for name in names}
    merged = merge_adapter(plain.state_dict(), adapter, alpha / rank)
    assert {name: tensor.shape for name, tensor in merged.items()} == {
        name: tensor.shape for name, tensor in plain.state_dict().items()
    }
    plain.load_state_dict(merged)
    expected = adapted(packed()).detach()
    assert not torch.allclose(expected, before)
    torch.testing.assert_close(plain(packed()).detach(), expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_a_layer_is_its_formula_with_its_gradients():
    """In double precision, against the one matrix that it stands for."""
    layer = nn.Linear(6, 4).double()
    ours = stir(LoRALinear(layer, LoRAConfig(rank=3, alpha=6), seeded()))
    down, up = (part.detach().clone().requires_grad_() for part in (ours.lora_down, ours.lora_up))
    x = torch.randn(5, 6, dtype=torch.float64)
    expected = functional.linear(x, layer.weight.detach() + 2 * up @ down, layer.bias.detach())
    found = ours(x)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.lora_down.grad, down.grad, atol=1e-10, rtol=0)
    torch.testing.assert_close(ours.lora_up.grad, up.grad, atol=1e-10, rtol=0)


def test_only_what_is_named_learns():
    model = Both()
    names = add_adapters(model, LoRAConfig(rank=2, layers=("dit.blocks.0.mlp.*",), whole=("dit.final.*",)), seeded())
    wanted = [f"dit.blocks.0.mlp.{layer}.lora_{side}" for layer in ("up", "down") for side in ("down", "up")]
    assert names == [*wanted, "dit.final.weight", "dit.final.bias"]
    model(packed()).square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == names
    assert set(Both().state_dict()) == set(model.state_dict()) - set(wanted)


def test_the_seed_decides_the_adapter():
    one, other = Both(), Both()
    names = add_adapters(one, LoRAConfig(rank=2), seeded())
    torch.rand(3)
    add_adapters(other, LoRAConfig(rank=2), seeded())
    for name in names:
        assert torch.equal(one.get_parameter(name), other.get_parameter(name))
    assert not torch.equal(
        one.get_parameter("dit.blocks.0.attention.qkv.lora_down"),
        one.get_parameter("dit.blocks.1.attention.qkv.lora_down"),
    )


def test_patterns_that_name_nothing_are_refused():
    with pytest.raises(
        UsageError, match=r"lora\.layers: no linear layer .* 'dit\.block\.0\.mlp\.up'; one is 'dit\.blocks"
    ):
        add_adapters(Both(), LoRAConfig(rank=2, layers=("dit.block.0.mlp.up",)), seeded())
    with pytest.raises(UsageError, match=r"lora\.whole: no weight .* 'dit\.finale\.bias'; one is 'dit\.final\.bias'"):
        add_adapters(Both(), LoRAConfig(rank=2, whole=("dit.finale.bias",)), seeded())
    with pytest.raises(ValidationError, match="rank is 0"):
        LoRAConfig(whole=("dit.*",))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("final.bias", (3,), "has .3,. for final.bias, which is"),
        ("finale.bias", (3,), "finale.bias, which is not there"),
        ("final.lora_up", (16, 2), "final.weight is incomplete: it has lora_up alone"),
    ],
)
def test_an_adapter_of_another_shape_is_refused(name, shape, said):
    with pytest.raises(ArtifactError, match=said):
        merge_adapter(tiny_dit().state_dict(), {name: torch.zeros(shape)}, 1.0)
