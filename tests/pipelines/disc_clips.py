"""Little clips of a disc that moves over nothing, and manifests of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from soracli.data.manifest import Clip, clip_id_of, write_manifest


def write_disc(folder: Path, name: str, num_frames: int, *, alpha: bool = True, grey: int = 90) -> None:
    down, across = np.mgrid[:40, :40]
    pictures = []
    for k in range(num_frames):
        rgba = np.full((40, 40, 4), grey, np.uint8)
        rgba[..., 3] = 255 * ((down - 20) ** 2 + (across - 12 - k) ** 2 < 80) if alpha else 255
        pictures.append(Image.fromarray(rgba))
    pictures[0].save(folder / name, save_all=num_frames > 1, append_images=pictures[1:], duration=80, lossless=True)


def disc_clip(name: str, split: str, num_frames: int) -> Clip:
    return Clip(
        path=name,
        start=0.0,
        num_frames=num_frames,
        fps=12.5,
        height=40,
        width=40,
        seconds=num_frames / 12.5,
        caption="",
        sha256="0" * 64,
        clip_id=clip_id_of(name, 0, num_frames, 12.5),
        kind="animation" if num_frames > 1 else "image",
        split=split,  # type: ignore[arg-type]
        original_name=name,
    )


def write_clips(path: Path, *clips: Clip) -> Path:
    write_manifest(path, clips, {})
    return path
