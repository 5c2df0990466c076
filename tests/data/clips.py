"""Tiny clips with a manifest, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from soracli.core.files import sha256_file
from soracli.data.manifest import Clip, clip_id_of, write_manifest

FPS = 12.5


def make_clip(folder: Path, name: str, num_frames: int, *, alpha: bool = False, seed: int = 0, size: int = 40) -> Clip:
    """Blocks of random colours, each frame its own; with ``alpha`` only a disc of them is there."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(num_frames):
        blocks = rng.integers(0, 256, (size // 8, size // 8, 3), np.uint8)
        rgba = np.full((size, size, 4), 255, np.uint8)
        rgba[..., :3] = blocks.repeat(8, 0).repeat(8, 1)
        if alpha:
            down, across = np.mgrid[:size, :size]
            rgba[..., 3] = 255 * ((down - size / 2) ** 2 + (across - size / 2) ** 2 < size**2 / 9)
        pictures.append(Image.fromarray(rgba))
    path = folder / name
    if num_frames == 1:
        pictures[0].save(path)
    else:
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=int(1000 / FPS), lossless=True)
    digest = sha256_file(path)
    return Clip(
        path=name,
        start=0.0,
        num_frames=num_frames,
        fps=FPS,
        height=size,
        width=size,
        seconds=num_frames / FPS,
        caption=f"blocks {seed}",
        sha256=digest,
        clip_id=clip_id_of(digest, 0, num_frames, FPS),
        kind="animation" if num_frames > 1 else "image",
        split="train",
        original_name=name,
    )


def make_manifest(folder: Path, *clips: Clip) -> Path:
    """A manifest of the clips; its path."""
    write_manifest(folder / "clips.jsonl", clips, {})
    return folder / "clips.jsonl"
