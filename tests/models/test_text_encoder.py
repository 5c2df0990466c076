"""The text encoder: packed equals alone, order counts, every weight keeps its name."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.models.config import TextEncoderConfig
from soracli.models.text_encoder import TextEncoder
from tests.models.tiny import tiny_text

texts = st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=6), min_size=1, max_size=4)


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
