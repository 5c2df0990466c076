"""The DiT: 0 at the start; packed equals alone; nothing leaks from later blocks or from what is to be predicted."""

import pytest
import torch
from torch import nn

from soracli.models.config import DiTConfig
from soracli.models.dit import DiT
from soracli.models.tokens import Sample, Tokens, pack_tokens
from tests.models.tiny import DIT, TEXT, piece, tiny_dit, tiny_text

PATCH, PIXELS = (1, 2, 2), (8, 8)


def samples() -> list[Sample]:
    """Every kind: given and two blocks; an image; a video without a beginning; other sizes and texts."""
    return [
        Sample(
            torch.tensor([1, 2, 3]),
            (
                piece(1, 1, True),
                piece(2, 2, True, start=1),
                piece(2, 2, False, start=1, t=0.6),
                piece(1, 3, False, start=3, t=0.9),
            ),
        ),
        Sample(torch.tensor([0]), (piece(1, 2, False, t=0.3, size=(6, 2), seed=1),)),
        Sample(
            torch.tensor([4, 5]),
            (piece(2, 1, True, start=2, t=0.1, seed=2), piece(1, 2, False, start=4, t=0.5, seed=2)),
        ),
    ]


def velocities(dit: DiT, packed: Tokens) -> torch.Tensor:
    states = tiny_text().to(dit.final.weight.dtype)(packed.text, packed.text_lengths)
    return dit(packed, states)[0]


@pytest.mark.parametrize("rank", [0, 4])
def test_it_gives_0_at_the_start(rank):
    dit = DiT(DIT.model_copy(update={"modulation_rank": rank}), 4, TEXT.hidden_size)
    packed = pack_tokens(samples(), PATCH, PIXELS)
    found = velocities(dit, packed)
    assert found.shape == (12 + 6 + 3 + 6, 16)
    assert not found.any()


@pytest.mark.parametrize("rank", [0, 4])
def test_packed_is_alone_in_any_order(rank):
    dit, parts = tiny_dit(modulation_rank=rank).double(), samples()
    alone = [velocities(dit, pack_tokens([part], PATCH, PIXELS)) for part in parts]
    assert all(bool(found.abs().amin() > 0) for found in alone)
    for order in ([0, 1, 2], [2, 0, 1], [1, 1, 0]):
        packed = velocities(dit, pack_tokens([parts[number] for number in order], PATCH, PIXELS))
        torch.testing.assert_close(packed, torch.cat([alone[number] for number in order]), atol=1e-10, rtol=1e-10)


def test_gradients_packed_are_those_alone_added():
    dit, parts = tiny_dit().double(), samples()

    def gradients(groups: list[list[Sample]]) -> list[torch.Tensor]:
        dit.zero_grad()
        for group in groups:
            velocities(dit, pack_tokens(group, PATCH, PIXELS)).square().sum().backward()
        return [parameter.grad.clone() for parameter in dit.parameters()]

    for one, other in zip(gradients([parts]), gradients([[part] for part in parts]), strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_what_a_prediction_depends_on():
    """By gradients: a block's velocity hangs on itself and the clean copies of earlier blocks, on nothing else."""
    dit = tiny_dit().double()
    packed = pack_tokens(samples()[:1], PATCH, PIXELS)
    stretches = {"given": 6, "clean 2": 12, "noisy 2": 12, "noisy 3": 6}
    patches = packed.patches.double().requires_grad_()
    found = velocities(dit, Tokens(**{**vars(packed), "patches": patches}))
    for wanted, seen in (
        (found[:12], {"given", "noisy 2"}),
        (found[12:], {"given", "clean 2", "noisy 3"}),
    ):
        (gradient,) = torch.autograd.grad(wanted.square().sum(), patches, retain_graph=True)
        by_stretch = dict(zip(stretches, gradient.split(list(stretches.values())), strict=True))
        assert {name for name, part in by_stretch.items() if part.any()} == seen
        assert all(part.any(1).all() for name, part in by_stretch.items() if name in seen)


def test_text_reaches_its_own_sample_only():
    dit, parts = tiny_dit(), samples()
    one = velocities(dit, pack_tokens(parts, PATCH, PIXELS))
    changed = [Sample(torch.tensor([9, 9, 9, 9]), parts[0].pieces), *parts[1:]]
    differs = (velocities(dit, pack_tokens(changed, PATCH, PIXELS)) - one).abs().amax(1) > 1e-6
    assert differs[:18].all() and not differs[18:].any()


def test_every_input_counts():
    """Noise levels, step size, guidance, kinds and times; each changes what is predicted."""
    dit, part = tiny_dit(), samples()[2]
    packed = pack_tokens([part], PATCH, PIXELS)
    before = velocities(dit, packed)
    for column in range(3):
        conditions = packed.conditions.clone()
        conditions[:, column] += 0.2
        assert not torch.allclose(velocities(dit, Tokens(**{**vars(packed), "conditions": conditions})), before)
    for name, other in (("kind", packed.kind.clamp(max=1)), ("coordinates", packed.coordinates * 1.5)):
        assert not torch.allclose(velocities(dit, Tokens(**{**vars(packed), name: other})), before)


def test_times_count_from_anywhere_but_the_text():
    """Rotary positions are relative: a shift of everything changes nothing."""
    dit, part = tiny_dit(), samples()[2]
    packed = pack_tokens([part], PATCH, PIXELS)
    moved = Tokens(**{**vars(packed), "coordinates": packed.coordinates + torch.tensor([7.0, 0.5, -0.25])})
    torch.testing.assert_close(velocities(dit, moved), velocities(dit, packed), atol=1e-4, rtol=1e-4)


def test_every_weight_learns():
    both = nn.ModuleDict({"dit": tiny_dit(), "text": tiny_text()})
    packed = pack_tokens(samples(), PATCH, PIXELS)
    both["dit"](packed, both["text"](packed.text, packed.text_lengths))[0].square().sum().backward()
    silent = [
        name for name, parameter in both.named_parameters() if parameter.grad is None or not bool(parameter.grad.any())
    ]
    assert not silent


def test_weights_keep_their_names(golden_text):
    for rank, name in ((0, "dit_full_modulation"), (32, "dit")):
        dit = DiT(DiTConfig(depth=2, modulation_rank=rank), 16, 256)
        names = [f"{key} {tuple(tensor.shape)}" for key, tensor in dit.state_dict().items()]
        golden_text(f"state_dict_keys/{name}.txt", "\n".join(names) + "\n")


def test_its_own_estimates_are_a_second_half_of_the_channels():
    """Self-conditioning by one layer over patches and estimates side by side, with the same weights."""
    dit = tiny_dit(self_conditioned=True).double()
    packed = pack_tokens(samples(), PATCH, PIXELS)
    estimates = torch.randn(packed.patches.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    states = tiny_text().double()(packed.text, packed.text_lengths)
    found = dit(packed, states, estimates=estimates)[0]
    plain = tiny_dit().double()
    plain.load_state_dict({name: value for name, value in dit.state_dict().items() if name != "estimate_embed.weight"})
    wide = nn.Linear(2 * 16, plain.config.hidden_size).double()
    with torch.no_grad():
        wide.weight.copy_(torch.cat([dit.patch_embed.weight, dit.estimate_embed.weight], 1))
        wide.bias.copy_(dit.patch_embed.bias)
    plain.patch_embed = wide
    beside = Tokens(**{**vars(packed), "patches": torch.cat([packed.patches.double(), estimates], 1)})
    torch.testing.assert_close(found, plain(beside, states)[0])
    assert (found - dit(packed, states)[0]).abs().max() > 1e-3
    torch.testing.assert_close(dit(packed, states, estimates=torch.zeros_like(estimates))[0], dit(packed, states)[0])


def test_self_conditioning_begins_where_a_model_without_it_is():
    plain = tiny_dit()
    dit = DiT(DIT.model_copy(update={"self_conditioned": True}), 4, TEXT.hidden_size)
    missing = dit.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["estimate_embed.weight"] and not missing.unexpected_keys
    packed = pack_tokens(samples(), PATCH, PIXELS)
    states = tiny_text()(packed.text, packed.text_lengths)
    assert torch.equal(dit(packed, states, estimates=torch.ones_like(packed.patches))[0], plain(packed, states)[0])
    assert "estimate_embed.weight" not in plain.state_dict()


def test_states_after_a_block():
    """Those of the last block give the prediction; those of an earlier one what the rest of the blocks begins with."""
    dit = tiny_dit(depth=3)
    packed = pack_tokens(samples(), PATCH, PIXELS)
    text = tiny_text()(packed.text, packed.text_lengths)
    assert dit(packed, text)[1].states is None
    seen: dict[int, torch.Tensor] = {}
    for number, block in enumerate(dit.blocks):
        block.register_forward_hook(lambda module, given, out, number=number: seen.update({1 + number: out[0]}))
    for number in (1, 2, 3):
        assert torch.equal(dit(packed, text, states_after=number)[1].states, seen[number])
    assert not torch.equal(seen[1], seen[2])
