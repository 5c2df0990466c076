"""Model folders: what is written is read; a flipped byte, a torn save and foreign parts are named."""

import json

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.models.config import TextEncoderConfig, VAEConfig
from soracli.models.store import fill_module, load_vae, read_part, save_part, save_vae
from tests.models.tiny import VAE, tiny_vae

MEAN, STD = torch.tensor([0.0, 1.0, -1.0, 0.5]), torch.tensor([1.0, 2.0, 0.5, 1.0])


def saved(folder, **options):
    return save_vae(folder / "vae", tiny_vae(), MEAN, STD, {"trained": {"steps": 3}}, **options)


def test_what_is_written_is_read(tmp_path):
    part_hash = saved(tmp_path)
    vae, spec = load_vae(tmp_path)
    assert vae.config == VAE and not vae.training and not any(weight.requires_grad for weight in vae.parameters())
    for name, weight in tiny_vae().state_dict().items():
        assert torch.equal(vae.state_dict()[name], weight)
    assert (spec.channels, spec.compression) == (4, (4, 8, 8))
    assert spec.mean == (0.0, 1.0, -1.0, 0.5) and spec.std == (1.0, 2.0, 0.5, 1.0)
    assert json.loads((tmp_path / "vae/config.json").read_text())["trained"] == {"steps": 3}
    assert saved(tmp_path / "again") == part_hash
    assert not list(tmp_path.rglob("*.part"))
    # Whoever may read the record may read the weights: a cluster's users share models.
    modes = {path.stat().st_mode for path in (tmp_path / "vae").iterdir()}
    assert len(modes) == 1


def test_half_the_bytes_are_float32_in_memory(tmp_path):
    saved(tmp_path / "whole")
    saved(tmp_path / "half", dtype=torch.bfloat16)
    whole, half = ((tmp_path / name / "vae/model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    vae, _ = load_vae(tmp_path / "half")
    for name, weight in tiny_vae().state_dict().items():
        assert vae.state_dict()[name].dtype == torch.float32
        assert torch.equal(vae.state_dict()[name], weight.bfloat16().float())


def test_latents_are_those_of_the_encoder_and_their_numbers(tmp_path):
    """Another decoder, or as many bytes more for the same values, leaves what was made of them; all else does not."""

    def latents(name, change=None, std=STD, dtype=torch.float32):
        vae = tiny_vae()
        if change is not None:
            with torch.no_grad():
                dict(vae.named_parameters())[change].mul_(1.01)
        whole = save_vae(tmp_path / name / "vae", vae, MEAN, std, {}, dtype)
        return whole, load_vae(tmp_path / name)[1].vae_hash

    whole, hashed = latents("first")
    assert latents("decoder", "decoder.stem.conv.weight")[1] == hashed
    assert latents("decoder", "decoder.stem.conv.weight")[0] != whole
    others = [latents("encoder", "encoder.head.conv.weight"), latents("std", std=2 * STD)]
    others.append(latents("half", dtype=torch.bfloat16))
    assert len({hashed, *(other for _, other in others)}) == 4
    vae, spec = load_vae(tmp_path / "half")
    save_vae(tmp_path / "long" / "vae", vae, MEAN, STD, {})
    assert load_vae(tmp_path / "long")[1] == spec


def test_models_of_before_that_are_read(tmp_path):
    """Their latents have the hash of the whole VAE."""
    whole = saved(tmp_path)
    path = tmp_path / "vae/config.json"
    record = json.loads(path.read_text())
    del record["latents"]["vae_hash"]
    path.write_text(json.dumps(record))
    assert load_vae(tmp_path)[1].vae_hash == whole


def test_any_change_is_another_hash(tmp_path):
    weights = {"a": torch.zeros(2, 3), "b": torch.zeros(3)}
    config = TextEncoderConfig()
    hashes = {
        save_part(tmp_path / "0", "text", weights, config, {}),
        save_part(tmp_path / "1", "vae", weights, config, {}),
        save_part(tmp_path / "2", "text", weights, TextEncoderConfig(depth=2), {}),
        save_part(tmp_path / "3", "text", {**weights, "b": torch.tensor([0.0, 0.0, 1e-30])}, config, {}),
        save_part(tmp_path / "4", "text", {"a": torch.zeros(3, 2), "b": torch.zeros(3)}, config, {}),
        save_part(tmp_path / "5", "text", {"c": weights["a"], "b": weights["b"]}, config, {}),
        save_part(tmp_path / "6", "text", weights, config, {}, torch.float16),
    }
    assert len(hashes) == 7


def test_scalars_and_numbers_of_tokens_keep_their_kind(tmp_path):
    weights = {"scale": torch.tensor(2.5), "count": torch.tensor([7, 8])}
    save_part(tmp_path, "text", weights, TextEncoderConfig(), {}, torch.bfloat16)
    found = read_part(tmp_path, "text", TextEncoderConfig)[0]
    assert float(found["scale"]) == 2.5 and found["count"].dtype == torch.int64


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(bytes(content))


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: flip(folder / "model.safetensors"), "its weights are not those"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"1234567"), "is damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is damaged"),
        (lambda folder: (folder / "config.json").unlink(), "no vae"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "damaged part"),
        (lambda folder: rewrite(folder / "config.json", kind="dit"), "holds a dit, not a vae"),
        (lambda folder: rewrite(folder / "config.json", format=99), "format 99; this sora reads 1: update sora"),
        (lambda folder: rewrite(folder / "config.json", config={"widths": "x"}), "is damaged"),
        (lambda folder: rewrite(folder / "config.json", config=3), "is damaged"),
        (lambda folder: rewrite(folder / "config.json", config={"quantiser": {"kind": "none"}}), "is damaged"),
        (lambda folder: rewrite(folder / "config.json", latents={}), "latent spec is damaged"),
        (lambda folder: rewrite(folder / "config.json", latents=[3]), "what it says of its latents is no table"),
        (
            lambda folder: save_part(folder, "vae", {}, VAEConfig(), {"latents": {}}),  # weights of another model
            r"does not fit|Missing key|latent",
        ),
    ],
)
def test_damage_is_named(tmp_path, damage, says):
    saved(tmp_path)
    damage(tmp_path / "vae")
    with pytest.raises(ArtifactError, match=says):
        load_vae(tmp_path)


def test_a_save_that_was_cut_in_the_middle_is_noticed(tmp_path):
    """New weights under the old record."""
    saved(tmp_path)
    before = (tmp_path / "vae/config.json").read_text()
    save_vae(tmp_path / "vae", tiny_vae(temporal_strides=(2, 2)).requires_grad_(False).apply(_nudge), MEAN, STD, {})
    (tmp_path / "vae/config.json").write_text(before)
    with pytest.raises(ArtifactError, match="its weights are not those"):
        load_vae(tmp_path)


def _nudge(module):
    for parameter in module.parameters(recurse=False):
        parameter += 1


def test_weights_go_in_whole_or_not_at_all(tmp_path):
    vae = tiny_vae()
    with pytest.raises(ArtifactError, match="does not fit its configuration"):
        fill_module(vae, {name: weight[:1] for name, weight in vae.state_dict().items()}, tmp_path)
