"""The picture of judged videos: what is where, colours of marks, long texts, refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soracli.core.errors import MachineError, UsageError
from soracli.data.marked_sheet import MarkedRow, write_marked_sheet


def _row(value: int, text: str = "a red ball", **given: tuple[tuple[str, bool], ...]) -> MarkedRow:
    return MarkedRow(np.full((5, 20, 30, 3), value, np.uint8), text, **given)


def _has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).sum(-1) < 12).any())


def test_frames_text_and_marks(workspace: Path) -> None:
    write_marked_sheet(Path("a/sheet.png"), [_row(200, marks=(("motion", True), ("size", False))), _row(90)])
    with Image.open("a/sheet.png") as picture:
        sheet = np.asarray(picture.convert("RGB"))
    assert sheet.shape[1] == 5 * (144 + 4) + 4
    assert (sheet[4:100, 4:148] == 200).all() and (sheet[4:100, 4 + 4 * 148 : 148 + 4 * 148] == 200).all()
    below = sheet[100:150]
    assert _has(below, (230, 230, 230)) and _has(below, (90, 210, 110)) and _has(below, (255, 95, 80))
    second = sheet[146:]
    assert (second[:96, 4:148] == 90).all()
    assert not _has(second, (90, 210, 110)) and not _has(second, (255, 95, 80))


def test_long_texts_take_more_lines(workspace: Path) -> None:
    heights = []
    for words in (1, 60, 120):
        write_marked_sheet(Path("sheet.png"), [_row(1, "several words " * words)])
        with Image.open("sheet.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[1] < heights[2]


def test_what_is_refused(workspace: Path) -> None:
    with pytest.raises(UsageError, match=r"try sheet\.png"):
        write_marked_sheet(Path("sheet.jpg"), [_row(1)])
    with pytest.raises(UsageError, match="at least one video"):
        write_marked_sheet(Path("sheet.png"), [])
    Path("file").touch()
    with pytest.raises(MachineError, match="cannot write"):
        write_marked_sheet(Path("file/sheet.png"), [_row(1)])
