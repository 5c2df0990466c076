"""Byte-pair tokens: any text comes back, the empty one is a mark, the same captions give the same tokens."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import ArtifactError
from soracli.models.tokenizer import encode_text, load_tokenizer, save_tokenizer, train_tokenizer

CAPTIONS = ["a red ball bounces on green grass", "A small red cube rolls over white snow.", "two balls meet"] * 3
TOKENIZER = train_tokenizer(CAPTIONS, 320)


@given(text=st.text(max_size=40))
def test_any_text_comes_back_in_lower_case(text):
    ids = encode_text(TOKENIZER, text, 1000)
    assert all(0 <= number < 320 for number in ids)
    assert ids[0] == TOKENIZER.token_to_id("<begin>") and ids.count(ids[0]) == 1
    expected = TOKENIZER.normalizer.normalize_str(text)
    assert TOKENIZER.decode(ids) == (f" {expected}" if expected else "")
    if text.isascii():
        assert expected == text.lower().strip()


def test_no_text_is_one_mark():
    assert encode_text(TOKENIZER, "", 96) == encode_text(TOKENIZER, " \n\t", 96) == [TOKENIZER.token_to_id("<begin>")]


def test_known_words_are_short_and_long_texts_are_cut():
    assert len(encode_text(TOKENIZER, "red", 96)) == 2
    whole = encode_text(TOKENIZER, CAPTIONS[0], 96)
    assert encode_text(TOKENIZER, CAPTIONS[0], 5) == whole[:5]
    assert len(encode_text(TOKENIZER, "red ball " * 100_000, 96)) == 96
    assert encode_text(TOKENIZER, "RED Ball", 96) == encode_text(TOKENIZER, "red ball", 96)


def test_another_process_learns_the_same_tokens(repository):
    """A resumed run learns its tokens anew."""
    script = f"from soracli.models.tokenizer import train_tokenizer\nprint(train_tokenizer({CAPTIONS!r}, 320).to_str())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == TOKENIZER.to_str()


def test_files(tmp_path):
    save_tokenizer(TOKENIZER, tmp_path)
    assert load_tokenizer(tmp_path).to_str() == TOKENIZER.to_str()
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path / "elsewhere")
    for damaged in ('{"version"', '{"version": "1.0"}', "[]"):
        (tmp_path / "tokenizer.json").write_text(damaged)
        with pytest.raises(ArtifactError, match=r"tokenizer\.json is damaged"):
            load_tokenizer(tmp_path)
