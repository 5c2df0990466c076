"""``sora vae export``: a VAE as a folder that other people's code reads, with torch and safetensors alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import soracli
from soracli.core.errors import ArtifactError, UsageError
from soracli.core.files import finish_file, machine_error, write_text_atomic
from soracli.core.latent_spec import LatentSpec
from soracli.models.published_files import find_published
from soracli.models.quantised_vae import QuantisedVAE
from soracli.models.record import part_folder
from soracli.models.store import load_video_vae
from soracli.pipelines.one_file import one_file

CODE = "video_vae.py"
"""The file of code in an exported folder."""
_ROOT = "soracli.models.standalone_vae"
_STAND_INS = {"einops": "soracli.models.plain_rearrange"}


def export_vae(model: Path, out: Path, *, overwrite: bool = False) -> Path:
    """Write ``model.safetensors``, ``config.json``, ``video_vae.py`` and ``README.md``.

    Weights and configuration are copies, byte for byte, so the folder is also a VAE for ``--vae``.

    Args:
        model: A VAE's folder, a model folder or a finished run.
        out: The folder to make.
        overwrite: Write into a folder that has something in it.

    Returns:
        ``out``.

    Raises:
        UsageError: If something is there already, or ``out`` is the VAE itself.
        ArtifactError: If there is no whole VAE of sora's.
        MachineError: If it cannot be written.
    """
    folder = part_folder(model, "vae")
    if (files := find_published(folder)) is not None:
        raise ArtifactError(f"{folder} holds a published {files.class_name}, which diffusers reads as it is")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not out.is_dir() or out.resolve() == folder.resolve():
            raise UsageError(f"{out} is {'the VAE itself' if out.is_dir() else 'a file'}; name another folder")
        if not overwrite:
            raise UsageError(f"{out} exists and is not empty; name another folder, or --overwrite")
    vae, spec = load_video_vae(model)
    if isinstance(vae, QuantisedVAE):
        raise ArtifactError(
            f"{folder} is a quantised VAE, which cannot be exported; one trained without a quantiser can"
        )
    write_text_atomic(out / CODE, exported_code())
    write_text_atomic(out / "README.md", _readme(spec))
    try:
        for name in ("model.safetensors", "config.json"):
            draft = out / f"{name}.part"
            shutil.copyfile(folder / name, draft)
            finish_file(draft, out / name)
    except OSError as error:
        raise machine_error(error, out, "cannot write") from error
    return out


def exported_code() -> str:
    """The text of ``video_vae.py``."""
    origin = f"# Written by sora {soracli.__version__} from its own source; Apache License 2.0.\n"
    return origin + one_file(_ROOT, _STAND_INS)


def _readme(spec: LatentSpec) -> str:
    time, height, width = spec.compression
    num_frames = 1 + 4 * time
    return f"""# A video VAE made with sora

{spec.channels} channels at a compression of {time}x{height}x{width} (frames, rows, columns). The first frame of a video
is encoded alone, so {num_frames} frames are 5 latent frames, and a picture is a video of one frame.

`video_vae.py` needs `torch` and `safetensors`, nothing else:

```python
import torch
from video_vae import load_codec

codec = load_codec()  # float32 on the CPU; .to("cuda") moves it
frames = torch.rand(1, 3, {num_frames}, {8 * height}, {8 * width}) * 2 - 1  # (B, 3, T, H, W) in [-1, 1]
latents, _ = codec.encode(frames)  # (1, {spec.channels}, 5, 8, 8), mean 0 and deviation 1 per channel
frames, _ = codec.decode(latents)
```

Long videos go in chunks, in constant memory; see the head of `video_vae.py`. In sora the folder stands wherever a VAE
is asked for: `sora latents cache --vae FOLDER`.

Hash of weights and configuration: `{spec.vae_hash}`
"""
