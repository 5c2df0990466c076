"""The quantised twin: tokens there and back, streamed and whole, beside the continuous VAE, saved, and learning."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.core.errors import ArtifactError, DataError, NumericsError
from soracli.data.world.clips import world_frames
from soracli.models.bottleneck import quantised
from soracli.models.codec import decode_stream, denormalise, encode_stream, encode_video
from soracli.models.config import QuantiserConfig, VAEConfig, with_quantiser
from soracli.models.quantised_vae import QuantisedVAE, build_vae, start_from
from soracli.models.store import load_vae, save_vae
from soracli.models.vae_loss import psnr, reconstruction_loss
from soracli.models.video_vae import VideoVAE
from tests.models.test_video_vae import frame_counts
from tests.models.tiny import VAE, random_frames, stir

CPU = torch.device("cpu")
FSQ = QuantiserConfig(kind="fsq", levels=(8, 5, 5))
LFQ = QuantiserConfig(kind="lfq", num_bits=6)
SAME = QuantiserConfig(kind="fsq", levels=(8, 6, 5, 5))
"""As many dimensions as the VAE has channels, so nothing is projected."""
KINDS = pytest.mark.parametrize("quantiser", [FSQ, LFQ, SAME], ids=["fsq", "lfq", "unprojected"])
cuts_of_latents = st.lists(st.integers(1, 3), min_size=1, max_size=4)


def twin(quantiser: QuantiserConfig, config: VAEConfig = VAE) -> QuantisedVAE:
    torch.manual_seed(0)
    vae = stir(build_vae(with_quantiser(config, quantiser)), size=1.0).eval()
    assert isinstance(vae, QuantisedVAE)
    return vae


@KINDS
def test_tokens_and_codes_are_the_same_thing(quantiser):
    vae = twin(quantiser)
    with torch.no_grad():
        frames = random_frames(2, 3, 9, 16, 24)
        codes, log_variance, _ = vae.encode(frames)
        indices, _ = vae.encode_indices(frames)
        assert codes.shape == (2, vae.num_channels, 3, 2, 3) and indices.shape == (2, 3, 2, 3)
        assert indices.dtype == torch.int64 and 0 <= int(indices.min()) <= int(indices.max()) < vae.num_codes
        assert len(indices.unique()) > 4
        assert torch.equal(vae.codes_from_indices(indices), codes) and bool((log_variance == -math.inf).all())
        assert torch.equal(vae.decode_indices(indices)[0], vae.decode(codes)[0])
        assert vae.decode(codes)[0].shape == frames.shape


@KINDS
@settings(max_examples=5)
@given(cuts=cuts_of_latents)
def test_tokens_in_chunks_are_tokens_of_the_whole(quantiser, cuts):
    vae = twin(quantiser).double()
    frames = random_frames(1, 3, sum(frame_counts(cuts)), 8, 16, dtype=torch.float64)
    whole, whole_frames = vae.encode_indices(frames)[0], vae.decode_indices(vae.encode_indices(frames)[0])[0]
    encoder_cache, decoder_cache, tokens, parts = (), (), [], []
    for chunk in frames.split(frame_counts(cuts), 2):
        indices, encoder_cache = vae.encode_indices(chunk, encoder_cache)
        decoded, decoder_cache = vae.decode_indices(indices, decoder_cache)
        tokens.append(indices)
        parts.append(decoded)
    assert torch.equal(torch.cat(tokens, 1), whole)
    torch.testing.assert_close(torch.cat(parts, 2), whole_frames, atol=1e-10, rtol=1e-10)


@KINDS
@pytest.mark.parametrize("num_frames", [1, 5, 33])
@settings(max_examples=4)
@given(cuts=st.lists(st.integers(0, 33), max_size=5))
def test_any_chunks_give_the_same_bits(tmp_path_factory, quantiser, num_frames, cuts):
    """Of float32 latents, through the codec, and so the same tokens and the same pixels."""
    vae, spec = saved_and_loaded(tmp_path_factory.mktemp("vae"), quantiser)
    generator = torch.Generator().manual_seed(num_frames)
    frames = torch.randint(0, 256, (num_frames, 16, 8, 3), dtype=torch.uint8, generator=generator)
    whole = encode_video(vae, spec, frames, CPU)
    pieces = frames.tensor_split(sorted(min(cut, num_frames) for cut in cuts))
    streamed = torch.cat(list(encode_stream(vae, spec, pieces, CPU)), 1)
    assert torch.equal(streamed, whole)
    tokens = vae.indices_from_codes(denormalise(whole, spec)[None])
    with torch.inference_mode():
        raw, _ = vae.encode_indices(frames.permute(3, 0, 1, 2)[None] / 127.5 - 1)
    assert float((raw == tokens).double().mean()) > 0.98  # sums of another shape may round at an edge otherwise
    exact = vae.codes_from_indices(tokens)
    torch.testing.assert_close(denormalise(whole, spec)[None], exact, atol=1e-5, rtol=0)
    assert torch.cat(list(decode_stream(vae, spec, [whole], CPU))).shape == (num_frames, 16, 8, 3)


@KINDS
def test_what_is_no_token_is_refused(quantiser):
    vae = twin(quantiser)
    for wrong in (-1, vae.num_codes):
        with pytest.raises(DataError, match=rf"token {wrong} is none of this VAE's: they are 0 to {vae.num_codes - 1}"):
            vae.decode_indices(torch.tensor([[[[0, wrong]]]]))
    with pytest.raises(NumericsError, match="NaN"):
        vae.encode_indices(torch.full((1, 3, 1, 8, 8), math.nan))


@KINDS
def test_the_twins_share_names_and_first_weights(quantiser):
    torch.manual_seed(3)
    continuous = VideoVAE(VAE).state_dict()
    torch.manual_seed(3)
    ours = build_vae(with_quantiser(VAE, quantiser)).state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in continuous.items())
    layers = () if quantiser == SAME else ("head", "stem")
    expected = {f"projection.{layer}.conv.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert ours.keys() - continuous.keys() == expected
    assert type(build_vae(with_quantiser(VAE, QuantiserConfig()))) is VideoVAE


def test_either_twin_begins_from_the_other():
    continuous, ours = stir(VideoVAE(VAE), 7), twin(FSQ)
    kept = ours.projection.stem.conv.weight.clone()
    start_from(ours, continuous)
    frames = random_frames(1, 3, 5, 8, 8)
    expected = continuous.encode(frames)[0]
    found = ours.encode_values(frames)[0]
    head = ours.projection.head.conv
    by_hand = torch.einsum("dc,bcthw->bdthw", head.weight, expected) + head.bias.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(found, by_hand)
    assert torch.equal(ours.projection.stem.conv.weight, kept)
    back = VideoVAE(VAE)
    start_from(back, ours)
    assert torch.equal(back.encode(frames)[0], expected)
    same = twin(FSQ)
    start_from(same, stir(ours, 9))
    assert all(torch.equal(same.state_dict()[name], weight) for name, weight in ours.state_dict().items())
    with pytest.raises(ArtifactError, match="built differently"):
        start_from(twin(FSQ, VAE.model_copy(update={"widths": (4, 6, 10)})), continuous)


def saved_and_loaded(folder, quantiser):
    vae = twin(quantiser)
    mean, std = torch.linspace(-0.5, 0.5, vae.num_channels), torch.linspace(0.5, 1.5, vae.num_channels)
    save_vae(folder / "vae", vae, mean, std, {})
    loaded, spec = load_vae(folder)
    assert isinstance(loaded, QuantisedVAE)
    return loaded, spec


@KINDS
def test_what_is_saved_is_loaded(tmp_path, quantiser):
    vae, (loaded, spec) = twin(quantiser), saved_and_loaded(tmp_path, quantiser)
    assert loaded.config == vae.config and loaded.levels == quantiser.code_levels
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in vae.state_dict().items())
    assert (spec.channels, spec.compression) == (vae.num_channels, (4, 8, 8))
    frames = random_frames(1, 3, 5, 8, 8)
    assert torch.equal(loaded.encode_indices(frames)[0], vae.encode_indices(frames)[0])


def test_levels_are_part_of_the_hash_and_of_what_is_checked(tmp_path):
    zeros, ones = torch.zeros(3), torch.ones(3)
    other = FSQ.model_copy(update={"levels": (5, 5, 8)})
    hashes = {save_vae(tmp_path / "vae", twin(quantiser), zeros, ones, {}) for quantiser in (FSQ, other)}
    assert len(hashes) == 2
    path = tmp_path / "vae/config.json"
    record = json.loads(path.read_text())
    record["config"]["quantiser"]["levels"] = [5, 8, 5]
    path.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="is damaged"):
        load_vae(tmp_path)


@pytest.mark.parametrize(
    "quantiser",
    [QuantiserConfig(kind="fsq", levels=(8, 5, 5, 5)), QuantiserConfig(kind="lfq", num_bits=12)],
    ids=["fsq", "lfq"],
)
def test_the_twin_learns_world_frames_by_heart(quantiser):
    config = VAEConfig(
        latent_channels=8, patch_size=4, widths=(24, 32), temporal_strides=(2,), encoder_blocks=(1, 1),
        decoder_blocks=(1, 1),
    )  # fmt: skip
    clips = [world_frames(1, index, num_frames=3, fps=12, height=32, width=32)[0] for index in range(2)]
    frames = torch.stack(clips).permute(0, 4, 1, 2, 3) / 127.5 - 1
    torch.manual_seed(0)
    vae = build_vae(with_quantiser(config, quantiser))
    assert isinstance(vae, QuantisedVAE)
    optimiser = torch.optim.Adam(vae.parameters(), 4e-3)
    before = float(psnr(vae.decode(vae.encode(frames)[0])[0], frames).detach())
    for _ in range(120):
        passed = quantised(vae, vae.encode_values(frames)[0], lambda mean: mean)
        l1, gradient = reconstruction_loss(vae.decode(passed.latents)[0], frames, torch.ones_like(frames))
        (l1 + 0.5 * gradient + passed.loss).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        tokens, _ = vae.encode_indices(frames)
        after = float(psnr(vae.decode_indices(tokens)[0], frames))
        # What is decoded is in the tokens: those of the clips in another order give the other clips.
        turned = vae.decode_indices(tokens.roll(1, 0))[0]
        assert float(psnr(turned, frames.roll(1, 0))) == pytest.approx(after, abs=0.01)
    assert before < 12 and after > before + 10
    assert len(tokens.unique()) > 12
