"""Pictures out of frames: one PNG, or a contact sheet of many videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from soracli.core.errors import UsageError
from soracli.core.files import finish_file, machine_error, part_name
from soracli.data.image_read import Frames

_MARGIN: Final = 4
_LABEL_PIXELS: Final = 12


def write_png(path: Path, frame: Frames, comment: str = "") -> None:
    """Write one frame as PNG.

    Args:
        path: The file, written in place.
        frame: uint8 ``(H, W, 3)``.
        comment: Kept in a text chunk of that name when not empty.

    Raises:
        OSError: If the system refuses.
    """
    chunks = PngImagePlugin.PngInfo()
    if comment:
        chunks.add_itxt("comment", comment)
    Image.fromarray(frame).save(path, format="PNG", pnginfo=chunks)


def write_contact_sheet(
    path: Path, rows: Sequence[tuple[str, Frames]], *, columns: int = 8, cell_height: int = 128
) -> None:
    """Write a grid of frames, one video a row, each under its label.

    Args:
        path: A .png; replaced in one step if it exists.
        rows: Label and frames ``(T, H, W, 3)`` uint8 of each video; sizes and lengths may differ.
        columns: Frames shown of each, evenly spaced from the first to the last; a shorter video shows all it has.
        cell_height: Height of a frame on the sheet in pixels; the width follows its aspect.

    Raises:
        UsageError: If there are no rows, a row has no frames, or the suffix is not .png.
        MachineError: If the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"a contact sheet is a .png, got {path.name!r}; try {path.stem}.png")
    if not rows or any(len(frames) == 0 for _, frames in rows):
        raise UsageError(f"{path}: a contact sheet needs at least one video with frames")
    strips = [(label, _cells(frames, columns, cell_height)) for label, frames in rows]
    width = max(sum(cell.width + _MARGIN for cell in cells) for _, cells in strips) + _MARGIN
    row_height = _LABEL_PIXELS + 4 + cell_height + _MARGIN
    sheet = Image.new("RGB", (width, _MARGIN + row_height * len(strips)), (24, 24, 24))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_LABEL_PIXELS)
    for index, (label, cells) in enumerate(strips):
        top, left = _MARGIN + index * row_height, _MARGIN
        pen.text((left, top), _shorten(label, font, width - 2 * _MARGIN), fill=(230, 230, 230), font=font)
        for cell in cells:
            sheet.paste(cell, (left, top + _LABEL_PIXELS + 4))
            left += cell.width + _MARGIN
    part = part_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(part, format="PNG")
        finish_file(part, path)
    except OSError as error:
        raise machine_error(error, path, "cannot write") from error


def _cells(frames: Frames, columns: int, cell_height: int) -> list[Image.Image]:
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int))
    width = max(1, round(frames.shape[2] * cell_height / frames.shape[1]))
    return [Image.fromarray(frames[k]).resize((width, cell_height), Image.Resampling.BICUBIC) for k in chosen]


def _shorten(label: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    text = " ".join(label.split())[:500]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
