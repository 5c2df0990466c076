"""An exported VAE against the VAE, in a process that has torch and safetensors alone; what is not exported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from soracli.core.errors import ArtifactError, UsageError
from soracli.models.codec import normalise
from soracli.models.config import QuantiserConfig, with_quantiser
from soracli.models.published_files import WEIGHTS
from soracli.models.quantised_vae import build_vae
from soracli.models.standalone_vae import load_codec
from soracli.models.store import load_vae, load_video_vae, save_vae
from soracli.pipelines.export_vae import export_vae
from tests.models.tiny import VAE, random_frames, tiny_vae

MEAN, STD = torch.tensor([0.0, 1.0, -1.0, 0.5]), torch.tensor([1.0, 2.0, 0.5, 1.0])
ALONE = """
import sys
for name in ("soracli", "einops", "pydantic", "diffusers", "timm", "torchvision", "tokenizers", "rich", "typer"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import torch
from safetensors.torch import load_file, save_file
from video_vae import load_codec

torch.set_num_threads(1)
given, codec = load_file("given.safetensors"), load_codec()
found = {}
with torch.inference_mode():
    found["latents"], _ = codec.encode(given["frames"])
    found["frames"], _ = codec.decode(found["latents"])
    cache, chunks = (), []
    for chunk in given["frames"].split([1, 4, 4], 2):
        latents, cache = codec.encode(chunk, cache)
        chunks.append(latents)
    found["streamed"] = torch.cat(chunks, 2)
save_file({name: value.contiguous() for name, value in found.items()}, "found.safetensors")
assert all(module is None for name, module in sys.modules.items() if name.partition(".")[0] == "soracli")
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_and_safetensors_are_enough(workspace: Path, dtype: torch.dtype) -> None:
    save_vae(workspace / "run/model/vae", tiny_vae(), MEAN, STD, {"trained": {"steps": 3}}, dtype)
    out = export_vae(Path("run"), Path("exported"))
    assert {path.name for path in out.iterdir()} == {"README.md", "config.json", "model.safetensors", "video_vae.py"}
    frames = random_frames(2, 3, 9, 16, 24)
    save_file({"frames": frames}, "given.safetensors")
    done = subprocess.run([sys.executable, "-I", "-c", ALONE, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = load_file("found.safetensors")
    vae, spec = load_video_vae(Path("run"))
    with torch.inference_mode():
        raw = vae.encode(frames)[0]
        # Another process may have another number of threads, and so another order of sums.
        torch.testing.assert_close(found["latents"], normalise(raw, spec), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["streamed"], found["latents"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["frames"], vae.decode(raw)[0], atol=1e-5, rtol=1e-5)
        assert torch.equal(load_codec(out).encode(frames)[0], normalise(raw, spec))


def test_the_readme_tells_the_truth(workspace: Path) -> None:
    save_vae(workspace / "vae", tiny_vae(), MEAN, STD, {})
    out = export_vae(Path("vae"), Path("exported"))
    readme = (out / "README.md").read_text()
    assert load_vae(out)[1] == load_vae(Path("vae"))[1] and load_vae(out)[1].vae_hash in readme
    assert "4 channels at a compression of 4x8x8" in readme and "so 17 frames are 5 latent frames" in readme
    example = readme.partition("```python\n")[2].partition("```")[0]
    check = f"{example}\nassert latents.shape == (1, 4, 5, 8, 8) and frames.shape == (1, 3, 17, 64, 64)"
    script = f"import sys\nsys.path.insert(0, {str(out)!r})\n{check}"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_exported(workspace: Path) -> None:
    save_vae(workspace / "vae", tiny_vae(), MEAN, STD, {})
    out = export_vae(Path("vae"), Path("exported"))
    with pytest.raises(UsageError, match="exported exists and is not empty; name another folder, or --overwrite"):
        export_vae(Path("vae"), out)
    (out / "config.json").write_text("{}")
    export_vae(Path("vae"), out, overwrite=True)
    assert (out / "config.json").read_bytes() == Path("vae/config.json").read_bytes()
    with pytest.raises(UsageError, match="vae is the VAE itself"):
        export_vae(Path("vae"), Path("vae"), overwrite=True)
    with pytest.raises(UsageError, match=r"given is a file"):
        Path("given").touch()
        export_vae(Path("vae"), Path("given"), overwrite=True)
    Path("wan").mkdir()
    Path("wan/config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan"}))
    Path("wan", WEIGHTS).touch()
    with pytest.raises(ArtifactError, match="holds a published AutoencoderKLWan, which diffusers reads as it is"):
        export_vae(Path("wan"), Path("other"))


def test_a_quantised_vae_is_refused_before_anything_is_written(workspace: Path) -> None:
    twin = build_vae(with_quantiser(VAE, QuantiserConfig(kind="fsq", levels=(4, 3))))
    save_vae(workspace / "vae", twin, torch.zeros(2), torch.ones(2), {})
    with pytest.raises(ArtifactError, match="vae is a quantised VAE, which cannot be exported"):
        export_vae(Path("vae"), Path("exported"))
    assert not Path("exported").exists()
