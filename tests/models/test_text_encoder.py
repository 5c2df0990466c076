"""The text encoder, alone and with a frozen one beside it: packed equals alone, order counts, weights keep names."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.models.config import TextEncoderConfig
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import FrozenText
from tests.models.tiny import TEXT, stir, tiny_text
from tests.models.tiny_bert import bert_files, write_bert

texts = st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=6), min_size=1, max_size=4)
paired_texts = st.lists(
    st.tuples(
        st.lists(st.integers(0, 299), min_size=1, max_size=6), st.lists(st.integers(0, 19), min_size=0, max_size=6)
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """An encoder with a frozen BERT beside it; its learned part is that of ``tiny_text``."""
    frozen = FrozenText(bert_files(write_bert(tmp_path_factory.mktemp("bert"))))
    encoder = stir(TextEncoder(TEXT.model_copy(update={"frozen": "minilm"}), frozen), 3).eval()
    encoder.load_state_dict(tiny_text().state_dict(), strict=False)
    return encoder


@settings(max_examples=20)
@given(texts=texts)
def test_packed_is_alone(texts):
    encoder = tiny_text().double()
    tokens = [torch.tensor(text) for text in texts]
    packed = encoder(torch.cat(tokens), [len(text) for text in texts])
    alone = torch.cat([encoder(text, [len(text)]) for text in tokens])
    torch.testing.assert_close(packed, alone, atol=1e-10, rtol=1e-10)


def test_the_order_of_words_counts():
    encoder = tiny_text()
    one, other = encoder(torch.tensor([5, 6, 7]), [3]), encoder(torch.tensor([5, 7, 6]), [3])
    assert not torch.allclose(one[0], other[0], atol=1e-3)


def test_weights_keep_their_names(golden_text):
    encoder = TextEncoder(TextEncoderConfig())
    names = [f"{key} {tuple(tensor.shape)}" for key, tensor in encoder.state_dict().items()]
    golden_text("state_dict_keys/text_encoder.txt", "\n".join(names) + "\n")


@settings(max_examples=20)
@given(texts=paired_texts)
def test_frozen_states_stand_after_learned_ones(beside, texts):
    """Packed texts, against their parts: the learned ones alone, the frozen ones normed and projected."""
    tokens = [torch.tensor([*own, *(300 + number for number in other)]) for own, other in texts]
    packed = beside(torch.cat(tokens), [len(text) for text in tokens])
    expected = []
    for own, other in texts:
        expected.append(tiny_text()(torch.tensor(own), [len(own)]))
        states = beside.frozen.states([other], torch.device("cpu"))
        states = states - states.mean(1, keepdim=True)
        scale = (states.square().mean(1, keepdim=True) + 1e-5).sqrt()
        expected.append(beside.frozen_embed(states / scale))
    torch.testing.assert_close(packed, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_a_frozen_encoder_learns_nothing_and_its_projection_does(beside):
    module = copy.deepcopy(beside).train()
    assert module.frozen is beside.frozen
    names = set(module.state_dict())
    assert names - set(tiny_text().state_dict()) == {"frozen_embed.weight", "frozen_embed.bias"}
    module(torch.tensor([1, 2, 302, 305, 303]), [5]).square().sum().backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in module.parameters())
    assert not any(parameter.requires_grad for parameter in module.frozen.encoder.parameters())


def test_half_precision_computes(beside):
    whole = beside(torch.tensor([1, 2, 302, 305, 303]), [5])
    half = copy.deepcopy(beside).bfloat16()(torch.tensor([1, 2, 302, 305, 303]), [5])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, atol=0.1, rtol=0.1)


def test_a_frozen_encoder_is_there_if_one_is_named(beside):
    with pytest.raises(ValueError, match=r"config\.frozen is minilm, but frozen is None"):
        TextEncoder(beside.config)
    with pytest.raises(ValueError, match=r"config\.frozen is none"):
        TextEncoder(TEXT, beside.frozen)
