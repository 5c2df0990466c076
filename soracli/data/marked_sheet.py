"""A picture of many judged videos: frames of each in a row, under them what was asked and what came out right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from soracli.core.errors import UsageError
from soracli.core.files import finish_file, machine_error, part_name
from soracli.data.image_read import Frames

_MARGIN: Final = 4
_GAP: Final = 14
_TEXT_PIXELS: Final = 12
_LINE: Final = 16
_BACKGROUND, _PLAIN, _RIGHT, _WRONG = (24, 24, 24), (230, 230, 230), (90, 210, 110), (255, 95, 80)
_FEWEST_COLUMNS: Final = 4

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True)
class MarkedRow:
    """One video.

    Attributes:
        frames: ``(T, H, W, 3)`` uint8; all are shown.
        text: Written under them, on as many lines as it takes.
        marks: Questions, and whether each came out right.
    """

    frames: Frames
    text: str
    marks: tuple[tuple[str, bool], ...] = ()


def write_marked_sheet(path: Path, rows: Sequence[MarkedRow], *, cell_height: int = 96) -> None:
    """Write a picture of judged videos, one below the other.

    Args:
        path: A .png; replaced in one step if it exists.
        rows: The videos.
        cell_height: Height of a frame on the sheet in pixels; the width follows its aspect.

    Raises:
        UsageError: If there are no rows, a row has no frames, or the suffix is not .png.
        MachineError: If the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"a picture of videos is a .png, got {path.name!r}; try {path.stem}.png")
    if not rows or any(len(row.frames) == 0 for row in rows):
        raise UsageError(f"{path}: a picture of videos needs at least one video with frames")
    font = ImageFont.load_default(_TEXT_PIXELS)
    strips = [_cells(row.frames, cell_height) for row in rows]
    widest = max(cells[0].width for cells in strips) + _MARGIN
    width = max(_FEWEST_COLUMNS, *map(len, strips)) * widest + _MARGIN
    texts = [_wrapped(row.text, font, width - 2 * _MARGIN) for row in rows]
    heights = [
        cell_height + _LINE * (len(lines) + bool(row.marks)) + _GAP for lines, row in zip(texts, rows, strict=True)
    ]
    sheet = Image.new("RGB", (width, sum(heights) + _MARGIN), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    top = _MARGIN
    for cells, lines, row, height in zip(strips, texts, rows, heights, strict=True):
        for number, cell in enumerate(cells):
            sheet.paste(cell, (_MARGIN + number * (cell.width + _MARGIN), top))
        for number, line in enumerate(lines):
            pen.text((_MARGIN, top + cell_height + 2 + number * _LINE), line, fill=_PLAIN, font=font)
        _draw_marks(pen, row.marks, top + cell_height + 2 + len(lines) * _LINE, font)
        top += height
    part = part_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(part, format="PNG")
        finish_file(part, path)
    except OSError as error:
        raise machine_error(error, path, "cannot write") from error


def _draw_marks(pen: ImageDraw.ImageDraw, marks: Sequence[tuple[str, bool]], top: int, font: _Font) -> None:
    """Words tell too, not colours alone."""
    left = float(_MARGIN)
    for question, right in marks:
        text = f"{question}: {'right' if right else 'WRONG'}"
        pen.text((left, top), text, fill=_RIGHT if right else _WRONG, font=font)
        left += font.getlength(text) + 2 * _TEXT_PIXELS


def _cells(frames: Frames, cell_height: int) -> list[Image.Image]:
    width = max(1, round(frames.shape[2] * cell_height / frames.shape[1]))
    return [Image.fromarray(frame).resize((width, cell_height), Image.Resampling.BICUBIC) for frame in frames]


def _wrapped(text: str, font: _Font, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
