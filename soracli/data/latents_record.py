"""What a file of latents says of itself, torch-free: the header of a safetensors file with one tensor.

``latents`` is ``(C, T, H, W)``, normalised, float32 or float16. The metadata has one entry, ``sora``, JSON::

    format, kind        1, "latents"
    spec                the LatentSpec, with the hash of the VAE
    fps                 frames a second as a fraction, "30000/1001"
    num_frames, height, width
                        of the video, which decoding gives back exactly
    padding             what was added to fill the latents: frames at the end (the last one held), rows at the bottom
                        and columns at the right (the edge repeated)
    made                how: source and its SHA-256, frames at once, tiles, background, version
    sha256              of the latents, latent frame by latent frame
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

from soracli.core.errors import ArtifactError
from soracli.core.json_text import parse_json
from soracli.core.latent_spec import LatentSpec

FORMAT: Final = 1

StoredType = Literal["float32", "float16"]
"""Latents have deviation 1: float16 keeps 3 digits of them in half the space, where bfloat16 would keep 2."""

_CODES: Final[Mapping[StoredType, str]] = {"float32": "F32", "float16": "F16"}
_BYTES: Final[Mapping[StoredType, int]] = {"float32": 4, "float16": 2}
_NO_HASH: Final = "0" * 64


@dataclass(frozen=True, kw_only=True)
class LatentsRecord:
    """What a latents file says of itself.

    Attributes:
        spec: Of its latents.
        num_frames: Frames of the video.
        height: Of its frames, in pixels.
        width: Of its frames, in pixels.
        fps: Frames a second.
        stored: Number type in the file.
        made: How it was made, as JSON values.
        sha256: Of the latents.
    """

    spec: LatentSpec
    num_frames: int
    height: int
    width: int
    fps: Fraction
    stored: StoredType
    made: Mapping[str, Any]
    sha256: str = _NO_HASH

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the latents, ``(C, T, H, W)``."""
        frames = self.spec.latent_frames_covering(self.num_frames)
        return (self.spec.channels, frames, *self.spec.latent_size_covering(self.height, self.width))

    @property
    def padding(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels that were added to fill the latents."""
        _, frames, rows, columns = self.shape
        _, height, width = self.spec.compression
        return (
            self.spec.video_frames(frames) - self.num_frames,
            rows * height - self.height,
            columns * width - self.width,
        )

    @property
    def num_bytes(self) -> int:
        """Of the latents in the file."""
        return math.prod(self.shape) * _BYTES[self.stored]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        frames, rows, columns = self.padding
        return {
            "format": FORMAT,
            "kind": "latents",
            "spec": self.spec.to_dict(),
            "fps": str(self.fps),
            "num_frames": self.num_frames,
            "height": self.height,
            "width": self.width,
            "padding": {"frames": frames, "rows": rows, "columns": columns},
            "made": dict(self.made),
            "sha256": self.sha256,
        }

    def header(self) -> bytes:
        """The beginning of the file: 8 bytes of length, JSON, spaces up to a multiple of 8; its hash may come later."""
        described = {
            "__metadata__": {"sora": json.dumps(self.to_dict(), allow_nan=False)},
            "latents": {
                "dtype": _CODES[self.stored],
                "shape": list(self.shape),
                "data_offsets": [0, self.num_bytes],
            },
        }
        text = json.dumps(described).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


def parse_record(path: Path, text: str | None, shape: Sequence[int], code: str) -> LatentsRecord:
    """The record in a file's metadata, checked against its tensor.

    Args:
        path: The file, for errors.
        text: The entry ``sora``; None if there is none.
        shape: Of the tensor ``latents``.
        code: Its number type, as safetensors names it.

    Raises:
        ArtifactError: If the file holds no latents, is damaged, or was made by a newer version.
    """
    try:
        values = parse_json(text) if text is not None else None
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}; encode the video again") from error
    if not isinstance(values, dict) or values.get("kind") != "latents":
        raise ArtifactError(f"{path} holds no latents of a video; make some: sora vae encode VIDEO --out FILE")
    if values.get("format") != FORMAT:
        raise ArtifactError(f"{path} has format {values.get('format')}; this sora reads {FORMAT}: update sora")
    stored = next((name for name, known in _CODES.items() if known == code), None)
    try:
        if stored is None or values["num_frames"] < 1 or values["height"] < 1 or values["width"] < 1:
            raise ValueError("impossible numbers")
        record = LatentsRecord(
            spec=LatentSpec.from_dict(values["spec"]),
            num_frames=int(values["num_frames"]),
            height=int(values["height"]),
            width=int(values["width"]),
            fps=Fraction(values["fps"]),
            stored=stored,
            made=dict(values["made"]),
            sha256=str(values["sha256"]),
        )
        if list(record.shape) != list(shape) or record.fps <= 0:
            raise ValueError(f"latents {list(shape)} are not the {list(record.shape)} of the video it describes")
    except (ArtifactError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise ArtifactError(f"{path} is damaged: {error}; encode the video again") from error
    return record
