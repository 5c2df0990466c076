"""The VAE whole against the VAE in chunks of any size; what must not look ahead does not; names of its weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soracli.models.config import VAEConfig
from soracli.models.video_vae import VideoVAE
from tests.models.tiny import random_frames, tiny_vae

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
cuts_of_latents = st.lists(st.integers(1, 3), min_size=1, max_size=4)


def frame_counts(cuts: list[int]) -> list[int]:
    """Frames of chunks with so many latents, at a temporal compression of 4."""
    return [4 * count - 3 * (number == 0) for number, count in enumerate(cuts)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@settings(max_examples=10)
@given(cuts=cuts_of_latents, strides=st.sampled_from([(2, 2), (1, 2), (2, 1)]))
def test_encoded_in_chunks_is_encoded_whole(dtype, cuts, strides):
    vae = tiny_vae(temporal_strides=strides).to(dtype)
    time = vae.config.compression[0]
    sizes = [time * count - (time - 1) * (number == 0) for number, count in enumerate(cuts)]
    frames = random_frames(1, 3, sum(sizes), 8, 16, dtype=dtype)
    cache, parts = (), []
    for chunk in frames.split(sizes, 2):
        mean, log_variance, cache = vae.encode(chunk, cache)
        parts.append(torch.stack([mean, log_variance]))
    whole = torch.stack(vae.encode(frames)[:2])
    assert whole.shape == (2, 1, 4, sum(cuts), 1, 2)
    torch.testing.assert_close(torch.cat(parts, 3), whole, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@settings(max_examples=10)
@given(cuts=cuts_of_latents)
def test_decoded_in_chunks_is_decoded_whole(dtype, cuts):
    vae = tiny_vae().to(dtype)
    latents = random_frames(2, 4, sum(cuts), 1, 2, dtype=dtype)
    cache, parts = (), []
    for chunk in latents.split(cuts, 2):
        frames, cache = vae.decode(chunk, cache)
        parts.append(frames)
    assert [part.shape[2] for part in parts] == frame_counts(cuts)
    whole = vae.decode(latents)[0]
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("changed", range(9))
def test_no_latent_sees_a_later_frame(changed):
    vae = tiny_vae().double()
    frames = random_frames(1, 3, 9, 8, 8, dtype=torch.float64)
    other = frames.clone()
    other[:, :, changed] += 0.5
    holds = (changed + 3) // 4  # the latent that holds the frame
    differs = (vae.encode(frames)[0] - vae.encode(other)[0]).abs().amax((0, 1, 3, 4)) > 1e-12
    assert not differs[:holds].any() and differs[holds:].all()


@pytest.mark.parametrize("changed", range(3))
def test_no_frame_sees_a_later_latent(changed):
    vae = tiny_vae().double()
    latents = random_frames(1, 4, 3, 1, 1, dtype=torch.float64)
    other = latents.clone()
    other[:, :, changed] += 0.5
    first = max(0, 4 * changed - 3)  # the first frame of the latent
    differs = (vae.decode(latents)[0] - vae.decode(other)[0]).abs().amax((0, 1, 3, 4)) > 1e-12
    assert not differs[:first].any() and differs[first:].all()


def test_an_image_is_the_first_frame_of_a_video():
    vae = tiny_vae().double()
    frames = random_frames(2, 3, 9, 16, 8, dtype=torch.float64)
    latents = vae.encode(frames)[0]
    torch.testing.assert_close(vae.encode(frames[:, :, :1])[0], latents[:, :, :1], atol=1e-12, rtol=0)
    decoded = vae.decode(latents)[0]
    assert decoded.shape == frames.shape
    torch.testing.assert_close(vae.decode(latents[:, :, :1])[0], decoded[:, :, :1], atol=1e-12, rtol=0)


def test_videos_of_a_batch_do_not_mix():
    vae = tiny_vae().double()
    frames = random_frames(3, 3, 5, 8, 8, dtype=torch.float64)
    alone = torch.cat([vae.encode(video[None])[0] for video in frames])
    torch.testing.assert_close(vae.encode(frames)[0], alone, atol=1e-12, rtol=0)


def test_log_variance_stays_in_range():
    vae = tiny_vae()
    with torch.no_grad():
        vae.encoder.head.conv.bias[4:] = torch.tensor([-100.0, 100.0, 0.0, 0.0])
    with torch.no_grad():
        log_variance = vae.encode(random_frames(1, 3, 1, 8, 8))[1]
    assert float(log_variance[:, 0].max()) == -12 and float(log_variance[:, 1].min()) == 4


def test_weights_keep_their_names(golden_text):
    names = [f"{name} {tuple(tensor.shape)}" for name, tensor in VideoVAE(VAEConfig()).state_dict().items()]
    golden_text("state_dict_keys/video_vae.txt", "\n".join(names) + "\n")
