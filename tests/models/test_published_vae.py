"""Published VAEs against diffusers' own classes, given whole and by chunks; their files; what is no such VAE."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from soracli.core.errors import ArtifactError, MachineError, UsageError
from soracli.models.codec import decode_blocks, encode_stream, encode_video, to_pixels
from soracli.models.published_files import CLASSES, WEIGHTS
from soracli.models.published_vae import _CODECS
from soracli.models.record import read_record
from soracli.models.store import copy_vae, load_vae, load_video_vae, save_vae
from soracli.models.video_codec import VideoCodec
from tests.models.published import CONFIGS, published_module, write_published
from tests.models.tiny import random_frames, tiny_vae

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed: pip install -e '.[dev]'"
)
CPU = torch.device("cpu")
COMPRESSIONS = {"wan 2.2": (4, 16, 16), "ltx": (8, 32, 32), "ltx 0.9.1": (8, 32, 32)}
STREAMING = ("wan", "wan 2.2", "cogvideox")
WHOLE = tuple(name for name in CONFIGS if name not in STREAMING)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    for name in CONFIGS:
        write_published(root / name, name)
    return {name: root / name for name in CONFIGS}


def frames_for(name: str, num_frames: int, seed: int = 0) -> Tensor:
    side = COMPRESSIONS.get(name, (4, 8, 8))[1]
    return random_frames(1, 3, num_frames, side, 2 * side, seed=seed)


def decoded_by_diffusers(module: Any, latents: Tensor) -> Tensor:
    if not module.config.get("timestep_conditioning"):
        return module.decode(latents).sample
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return module.decode(latents, torch.zeros(len(latents))).sample


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("num_frames", [1, 9, 17, 33])
def test_a_whole_video_is_what_diffusers_makes_of_it(folders: dict[str, Path], name: str, num_frames: int) -> None:
    """To the bit. 33 frames are more than one stretch of HunyuanVideo."""
    vae, spec = load_vae(folders[name])
    module, frames = published_module(name), frames_for(name, num_frames)
    with torch.inference_mode():
        mean, log_variance, _ = vae.encode(frames)
        posterior = module.encode(frames).latent_dist
        decoded, expected = vae.decode(mean)[0], decoded_by_diffusers(module, posterior.mean)
    assert torch.equal(mean, posterior.mean) and torch.equal(log_variance, posterior.logvar)
    assert torch.equal(decoded, expected) and decoded.shape == frames.shape
    assert mean.shape == (1, spec.channels, spec.latent_frames(num_frames), *spec.latent_size(*frames.shape[3:]))
    assert float(mean.std()) > 1e-3 and float(decoded.std()) > 1e-3


def cut(total: int, cuts: list[int]) -> list[int]:
    """Sizes of the pieces that ``total`` falls into, none of them 0."""
    edges = sorted({0, total, *(1 + at % (total - 1) for at in cuts)})
    return [high - low for low, high in pairwise(edges)]


def by_chunks(vae: VideoCodec, frames: Tensor, step: int, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Means and frames, both in chunks of so many latents."""
    cache: tuple[Any, ...] = ()
    means, parts, start = [], [], 0
    for number, size in enumerate(sizes):
        end = start + size * step - (step - 1 if number == 0 else 0)
        mean, _, cache = vae.encode(frames[:, :, start:end], cache)
        means.append(mean)
        start = end
    cache, latents = (), torch.cat(means, 2)
    for chunk in latents.split(sizes, 2):
        frames_of_chunk, cache = vae.decode(chunk, cache)
        parts.append(frames_of_chunk)
    return latents, torch.cat(parts, 2)


@pytest.mark.parametrize("name", ["wan", "wan 2.2"])
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 8), max_size=5))
def test_wan_by_chunks_is_wan_whole(folders: dict[str, Path], name: str, cuts: list[int]) -> None:
    vae, frames = load_vae(folders[name])[0], frames_for(name, 25)
    with torch.inference_mode():
        mean = vae.encode(frames)[0]
        latents, decoded = by_chunks(vae, frames, 4, cut(7, cuts))
        torch.testing.assert_close(latents, mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(decoded, vae.decode(latents)[0], atol=1e-5, rtol=1e-5)


def test_cogvideox_at_its_own_cuts_is_cogvideox_whole(folders: dict[str, Path]) -> None:
    vae, frames = load_vae(folders["cogvideox"])[0], frames_for("cogvideox", 25)
    with torch.inference_mode():
        mean = vae.encode(frames)[0]
        latents, decoded = by_chunks(vae, frames, 4, [3, 2, 2])
        assert torch.equal(latents, mean) and torch.equal(decoded, vae.decode(mean)[0])


@settings(max_examples=8)
@given(num_latents=st.integers(2, 7), cuts=st.lists(st.integers(0, 8), max_size=5))
def test_cogvideox_at_any_cut_differs_by_its_norms_alone(
    folders: dict[str, Path], num_latents: int, cuts: list[int]
) -> None:
    """They average over the frames of a call; without them every cut gives the same, also of an even number."""
    vae, frames = load_vae(folders["cogvideox"])[0], frames_for("cogvideox", 4 * num_latents - 3)
    for module in list(vae.modules()):  # type: ignore[attr-defined]
        for name, child in module.named_children():
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())
    with torch.inference_mode():
        latents, decoded = by_chunks(vae, frames, 4, cut(num_latents, cuts))
        torch.testing.assert_close(latents, vae.encode(frames)[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(decoded, vae.decode(latents)[0], atol=1e-4, rtol=1e-4)
    assert decoded.shape == frames.shape and float(decoded.std()) > 1e-3


@pytest.mark.parametrize("name", WHOLE)
def test_the_others_refuse_a_second_chunk(folders: dict[str, Path], name: str) -> None:
    vae, frames = load_vae(folders[name])[0], frames_for(name, 9)
    with torch.inference_mode():
        mean, _, encoder_cache = vae.encode(frames)
        _, decoder_cache = vae.decode(mean)
        with pytest.raises(UsageError, match="takes a video whole, not in chunks"):
            vae.encode(frames, encoder_cache)
        with pytest.raises(UsageError, match="takes a video whole, not in chunks"):
            vae.decode(mean, decoder_cache)


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=3)
@given(cuts=st.lists(st.integers(0, 40), max_size=4))
def test_the_codec_does_not_depend_on_chunks(folders: dict[str, Path], name: str, cuts: list[int]) -> None:
    """Whether it streams or has to wait for the whole of the 35 frames, the last 2."""
    vae, spec = load_vae(folders[name])
    pixels = to_pixels(frames_for(name, 35))
    whole = encode_video(vae, spec, pixels, CPU)
    parts = list(encode_stream(vae, spec, pixels.tensor_split(sorted(min(at, 35) for at in cuts)), CPU))
    assert torch.equal(torch.cat(parts, 1), whole) and whole.shape[1] == 1 + 34 // spec.compression[0]
    # Constant memory, or all at once.
    assert (max(part.shape[1] for part in parts) <= 4) if name in STREAMING else len(parts) == 1
    frames = torch.cat(list(decode_blocks(vae, spec, whole.split([3, *[1] * (whole.shape[1] - 3)], 1))))
    assert frames.shape[0] == spec.video_frames(whole.shape[1])


def test_latents_are_normalised_as_the_pipelines_do(folders: dict[str, Path]) -> None:
    """The formulas of pipeline_wan_i2v, pipeline_ltx_image2video, pipeline_cogvideox and pipeline_hunyuan_video."""
    for name in CONFIGS:
        (vae, spec), module = load_vae(folders[name]), published_module(name)
        pixels = to_pixels(frames_for(name, 9))
        with torch.inference_mode():
            raw = vae.encode(pixels.permute(3, 0, 1, 2)[None] / 127.5 - 1)[0]
        config = module.config
        if name.startswith("wan"):
            mean, std = (
                torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std)
            )
            expected = (raw - mean) * (1.0 / std)
        elif name.startswith("ltx"):
            mean, std = (values.view(1, -1, 1, 1, 1) for values in (module.latents_mean, module.latents_std))
            expected = (raw - mean) * config.scaling_factor / std
        else:
            expected = raw * config.scaling_factor
        torch.testing.assert_close(encode_video(vae, spec, pixels, CPU), expected[0], atol=1e-5, rtol=1e-5)
        assert spec.channels == raw.shape[1] and spec.compression == COMPRESSIONS.get(name, (4, 8, 8))


def test_every_class_has_a_codec() -> None:
    assert set(_CODECS) == set(CLASSES) == {class_name for class_name, _ in CONFIGS.values()}


def test_equal_latents_give_equal_frames_where_noise_is_added_inside(folders: dict[str, Path]) -> None:
    vae, latents = load_vae(folders["ltx 0.9.1"])[0], torch.randn(1, 4, 2, 1, 1)
    with torch.inference_mode():
        one, before = vae.decode(latents)[0], torch.random.get_rng_state()
        torch.manual_seed(7)
        after = torch.random.get_rng_state()
        assert torch.equal(vae.decode(latents)[0], one) and not torch.equal(before, after)
        assert torch.equal(torch.random.get_rng_state(), after)
        assert not torch.equal(one, vae.module.decode(latents, torch.zeros(1)).sample)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CONFIGS)
def test_half_the_bits_are_enough_to_decode(folders: dict[str, Path], name: str) -> None:
    """As sora generate does on a GPU: weights and latents in bfloat16."""
    vae, spec = load_vae(folders[name])
    latents = torch.randn(1, spec.channels, 3, 1, 1)
    with torch.inference_mode():
        whole = vae.decode(latents)[0]
        for parameter in vae.parameters():
            parameter.data = parameter.data.bfloat16()
        half = vae.decode(latents.bfloat16())[0]
    assert half.dtype == torch.bfloat16
    assert float((half.float() - whole).square().mean()) < 0.05 * float(whole.var())


@pytest.mark.parametrize("name", ["wan", "ltx"])
def test_a_copy_is_a_part_of_a_model(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    vae, spec = load_vae(folders[name])
    copy_vae(folders[name], tmp_path / "model/vae", spec)
    assert {path.name for path in (tmp_path / "model/vae").iterdir()} == {"config.json", "model.safetensors"}
    copy_vae(tmp_path / "model", tmp_path / "again/vae", spec)
    assert (tmp_path / "again/vae/config.json").read_text() == (tmp_path / "model/vae/config.json").read_text()
    for model in ("model", "again/vae"):
        again, same = load_vae(tmp_path / model)
        assert same == spec
        with torch.inference_mode():
            assert torch.equal(again.encode(frames_for(name, 9))[0], vae.encode(frames_for(name, 9))[0])
    record = json.loads((tmp_path / "model/vae/config.json").read_text())
    assert (record["kind"], record["hash"], record["latents"]["channels"]) == ("vae", spec.vae_hash, spec.channels)
    content = bytearray((tmp_path / "model/vae/model.safetensors").read_bytes())
    content[-5] ^= 0x10
    (tmp_path / "model/vae/model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="its weights are not those that"):
        load_vae(tmp_path / "model")


def test_the_hash_is_of_what_it_computes(folders: dict[str, Path], tmp_path: Path) -> None:
    """Not of who saved it when; half the bytes are other weights, float32 in memory."""
    folder = tmp_path / "wan"
    shutil.copytree(folders["wan"], folder)
    spec = load_vae(folder)[1]
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**record, "_diffusers_version": "0.1", "_name_or_path": "x"}))
    assert load_vae(folder)[1] == spec
    (folder / "config.json").write_text(json.dumps({**record, "latents_mean": [0.0] * 4}))
    assert load_vae(folder)[1].vae_hash != spec.vae_hash
    (folder / "config.json").write_text(json.dumps(record))
    save_file({name: value.bfloat16() for name, value in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    vae, half = load_vae(folder)
    assert half.vae_hash != spec.vae_hash and {weight.dtype for weight in vae.parameters()} == {torch.float32}


def test_what_cannot_be_read_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "wan"
    shutil.copytree(folders["wan"], folder)
    record = json.loads((folder / "config.json").read_text())

    def refuses(said: str, **changes: Any) -> None:
        (folder / "config.json").write_text(json.dumps({**record, **changes}))
        with pytest.raises(ArtifactError, match=said) as caught:
            load_vae(folder)
        assert "\n" not in str(caught.value)

    refuses("holds a AutoencoderKLMochi; of diffusers' models AutoencoderKLWan, ", _class_name="AutoencoderKLMochi")
    refuses("does not fit its configuration", base_dim=8)
    refuses("does not fit its configuration", z_dim="many")
    refuses("latent spec", latents_std=[1.0, 0.0, 1.0, 1.0])
    refuses("latent spec", latents_std=[1.0])
    (folder / WEIGHTS).write_bytes(b"1234567")
    refuses("is damaged")
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    refuses(f"holds no {WEIGHTS}; weights in other files are not read")


def test_without_diffusers_the_extra_is_named(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(
        MachineError, match=r"AutoencoderKLWan needs a package: pip install 'sora-trainer\[diffusers\]'"
    ):
        load_vae(folders["wan"])


def test_what_needs_a_vae_of_our_own_refuses_others(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match="holds a published AutoencoderKLWan; a VAE of sora vae train is needed here"
    ):
        load_video_vae(folders["wan"])
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    assert load_video_vae(tmp_path)[1] == load_vae(tmp_path)[1]
    with pytest.raises(ArtifactError, match="holds a AutoencoderKLWan of diffusers, not a dit of sora's"):
        read_record(folders["wan"], "dit")
