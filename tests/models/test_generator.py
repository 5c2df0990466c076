"""A whole model: what is saved is loaded; parts that were not made for each other are refused."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.models import text_frozen
from soracli.models.generator import load_generator, save_dit
from soracli.models.store import load_vae, save_vae
from soracli.models.text_encoder import TextEncoder
from soracli.models.text_frozen import FrozenText, pair_tokenizers
from soracli.models.tokenizer import train_tokenizer
from soracli.models.tokens import Sample, pack_tokens
from tests.models.tiny import DIT, TEXT, piece, stir, tiny_dit, tiny_text, tiny_vae
from tests.models.tiny_bert import install, write_bert


@pytest.fixture
def model(tmp_path):
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    spec = load_vae(tmp_path)[1]
    tokenizer = train_tokenizer(["a red ball"], 300)
    save_dit(tmp_path, tiny_dit().state_dict(), DIT, tiny_text(), tokenizer, spec, {"defaults": {"fps": 12}})
    return tmp_path


def test_what_is_saved_is_loaded(model):
    found = load_generator(model)
    assert found.defaults == {"fps": 12}
    assert found.device == torch.device("cpu")
    assert found.model_hash == json.loads((model / "dit/config.json").read_text())["hash"]
    prompt = found.prompt_tokens("a red ball")
    assert len(found.prompt_tokens("")) == 1 < len(prompt)
    packed = pack_tokens([Sample(prompt, (piece(1, 2, False, t=0.5),))], (1, 2, 2), (8, 8))
    ours = found.dit(packed, found.text(packed.text, packed.text_lengths))[0]
    theirs = tiny_dit()(packed, tiny_text()(packed.text, packed.text_lengths))[0]
    assert torch.equal(ours, theirs) and not ours.requires_grad


def test_parts_of_other_models_are_refused(model, tmp_path):
    other = tmp_path / "other"
    save_vae(other / "vae", stir(tiny_vae(), 5), torch.zeros(4), torch.ones(4), {})
    shutil.copytree(model / "vae", tmp_path / "kept")
    shutil.rmtree(model / "vae")
    shutil.copytree(other / "vae", model / "vae")
    with pytest.raises(ArtifactError, match="put the VAE beside it that it was trained with"):
        load_generator(model)
    shutil.rmtree(model / "vae")
    with pytest.raises(ArtifactError, match="no vae"):
        load_generator(model)
    shutil.move(tmp_path / "kept", model / "vae")
    load_generator(model)
    rewritten = json.loads((model / "dit/config.json").read_text())
    (model / "dit/config.json").write_text(json.dumps({**rewritten, "text_hash": "0"}))
    with pytest.raises(ArtifactError, match="is not the text encoder"):
        load_generator(model)


def test_a_model_needs_the_frozen_encoder_it_was_trained_beside(tmp_path, monkeypatch):
    bert = install(write_bert(tmp_path / "bert"), monkeypatch)
    config = TEXT.model_copy(update={"frozen": "minilm"})
    text = stir(TextEncoder(config, FrozenText(bert)), 2).eval()
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    tokenizer = pair_tokenizers(train_tokenizer(["a red ball"], 300), text.frozen, config)
    save_dit(tmp_path, tiny_dit().state_dict(), DIT, text, tokenizer, load_vae(tmp_path)[1], {})
    found = load_generator(tmp_path)
    for prompt, frozen in (("", 2), ("a red ball", 5), ("red " * 10_000, 24)):
        tokens = found.prompt_tokens(prompt)
        assert int((tokens >= 300).sum()) == frozen
        assert torch.equal(found.text(tokens, [len(tokens)]), text(tokens, [len(tokens)]))
    # One that is open is taken; one of another kind is not.
    opened = FrozenText(bert)
    assert load_generator(tmp_path, frozen=opened).text.frozen is opened
    assert (
        load_generator(tmp_path, frozen=FrozenText(replace(bert, kind="transformers"))).text.frozen.files.kind
        == "minilm"
    )

    record = json.loads((tmp_path / "text/config.json").read_text())
    assert record["frozen"] == {"name": "minilm", "width": 12, "hash": opened.hash}
    install(write_bert(tmp_path / "bert", seed=1), monkeypatch)
    with pytest.raises(ArtifactError, match=f"was trained beside the frozen text encoder minilm {opened.hash[:12]}"):
        load_generator(tmp_path)
    write_bert(tmp_path / "text/frozen")
    monkeypatch.setattr(text_frozen, "_MINILM_HASH", opened.hash)
    assert load_generator(tmp_path).text.frozen.hash == opened.hash
    # A model without one does not care what is open.
    save_dit(tmp_path, tiny_dit().state_dict(), DIT, tiny_text(), tokenizer, load_vae(tmp_path)[1], {})
    assert load_generator(tmp_path, frozen=opened).text.frozen is None
