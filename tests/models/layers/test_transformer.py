"""Blocks: the identity at the start; no noise level turns a knob of another frame; low rank is a full product."""

import torch
from torch import nn

from soracli.models.layers.rope import rope_angles, rope_frequencies
from soracli.models.layers.segment import Segment
from soracli.models.layers.transformer import DiTBlock, FeedForward, Modulation, TextBlock, start_small, zero_linear
from tests.models.tiny import stir

DIM = 16


def call(
    block: DiTBlock, x: torch.Tensor, condition: torch.Tensor, row: torch.Tensor, shared: float = 0.0
) -> torch.Tensor:
    angles = rope_angles(torch.rand(len(x), 3, generator=torch.Generator().manual_seed(0)), rope_frequencies(8))
    return block(x, condition, shared, row, angles, [Segment(len(x))], None)[0]


def test_a_block_starts_as_the_identity():
    for rank in (0, 4):
        x = torch.randn(6, DIM)
        assert torch.equal(
            call(DiTBlock(DIM, 2, 2.0, rank), x, torch.randn(2, DIM), torch.tensor([0, 0, 0, 1, 1, 1])), x
        )


def test_conditions_of_one_row_reach_tokens_of_that_row_only():
    """With attention switched off nothing else can carry them."""
    block = stir(DiTBlock(DIM, 2, 2.0, 4))
    zero_linear(block.attention.out)
    x, row, condition = torch.randn(6, DIM), torch.tensor([0, 1, 0, 2, 1, 2]), torch.randn(3, DIM)
    other = condition.clone()
    other[1] += 1
    differs = (call(block, x, condition, row) != call(block, x, other, row)).any(1)
    assert differs.tolist() == [False, True, False, False, True, False]


def test_what_is_shared_is_added():
    block, shared = stir(DiTBlock(DIM, 2, 2.0, 4)), torch.randn(2, 6 * DIM)
    x, row, condition = torch.randn(4, DIM), torch.tensor([0, 0, 1, 1]), torch.randn(2, DIM)
    one = call(block, x, condition, row, shared)
    with torch.no_grad():
        full = Modulation(DIM, 0)
        full.expand.weight.copy_(block.modulation.expand.weight @ block.modulation.reduce.weight)
        full.expand.bias.copy_(block.modulation.expand.bias)
        table = full(condition) + shared
    block.modulation = nn.Identity()
    torch.testing.assert_close(call(block, x, table, row), one)


def test_a_text_block_is_torchs_pre_norm_encoder_layer():
    ours = stir(TextBlock(DIM, 2, 2.0))
    ours.attention.query_norm = ours.attention.key_norm = nn.Identity()
    theirs = nn.TransformerEncoderLayer(DIM, 2, 2 * DIM, 0.0, nn.functional.gelu, batch_first=True, norm_first=True)
    theirs.norm1, theirs.norm2 = ours.attention_norm, ours.mlp_norm
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.attention.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.attention.qkv.bias)
        theirs.self_attn.out_proj.load_state_dict(ours.attention.out.state_dict())
        theirs.linear1.load_state_dict(ours.mlp.up.state_dict())
        theirs.linear2.load_state_dict(ours.mlp.down.state_dict())
    x = torch.randn(5, DIM)
    torch.testing.assert_close(ours(x, torch.zeros(5, 4), [Segment(5)]), theirs(x[None])[0])


def test_starts():
    layer = nn.Linear(64, 32)
    start_small(layer)
    assert not layer.bias.any() and float(layer.weight.detach().abs().max()) <= (6 / 96) ** 0.5
    zero_linear(layer)
    assert not layer.weight.any()
    assert FeedForward(8, 2.5).up.out_features == 20
