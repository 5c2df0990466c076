"""The picture that ``sora generate --image`` sets in motion: which size, and what of it is seen; torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soracli.core.errors import DataError
from soracli.core.files import sha256_file
from soracli.core.latent_spec import LatentSpec
from soracli.data.video_info import VideoInfo
from soracli.data.video_read import probe_video
from soracli.pipelines.fit_video import fit_video

_TOLD_FROM = 0.005
"""A smaller part of a picture that is cut off is not spoken of."""


def probe_first_frame(path: Path) -> VideoInfo:
    """What is true of a picture.

    Raises:
        DataError: If there is none, it is damaged, or it is a video; names the command that takes one.
    """
    info = probe_video(path)
    if info.kind != "image":
        raise DataError(f"{path} is no picture but a video: sora extend {path} goes on from its end")
    return info


def size_for(
    picture: VideoInfo, spec: LatentSpec, patch_size: Sequence[int], defaults: Mapping[str, Any]
) -> tuple[int, int]:
    """Height and width near a picture's aspect, of about as many pixels as the model was trained with."""
    rows, columns = (spec.compression[axis] * patch_size[axis] for axis in (1, 2))
    trained = (int(defaults["size"][0]), int(defaults["size"][1]))
    rate = float(defaults["fps"])
    fitted = fit_video(
        fps=rate,
        height=picture.height,
        width=picture.width,
        trained_fps=rate,
        trained_size=trained,
        unit=(rows, columns),
    )
    return fitted.size


def cut_note(picture: VideoInfo, size: tuple[int, int]) -> str:
    """What a person should know of a picture that fills another size, and is cut there; empty for nothing.

    Args:
        picture: Of any size.
        size: Height and width that it is brought to.
    """
    high, wide = size[0] / picture.height, size[1] / picture.width
    part, name = 1 - min(high, wide) / max(high, wide), "height" if high < wide else "width"
    shown = f"{picture.path.name} ({picture.width}x{picture.height}) is shown at {size[1]}x{size[0]}"
    if part >= _TOLD_FROM:
        return f"{shown}; {part:.0%} of its {name} is cut off, as much on both sides"
    return "" if (picture.height, picture.width) == size else shown


def picture_record(path: Path) -> dict[str, str]:
    """What a video says of the picture that it begins with: its name, and the hash of its bytes."""
    return {"image": path.name, "image_sha256": sha256_file(path)}
