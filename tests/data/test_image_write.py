"""Contact sheets by what is seen on them: rows, columns, labels; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soracli.core.errors import MachineError, UsageError
from soracli.data.image_write import write_contact_sheet


def ramp(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    levels = np.linspace(50, 250, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def test_a_sheet_shows_the_first_and_the_last_frame_of_every_video(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    write_contact_sheet(path, [("one", ramp(20)), ("wide", ramp(3, 32, 64))], columns=4, cell_height=32)
    sheet = np.asarray(Image.open(path))
    # Four cells of 32, or three of 64, with margins of 4.
    assert sheet.shape == (4 + 2 * (16 + 32 + 4), 4 + 3 * (64 + 4), 3)
    first = sheet[4 + 16 + 16]
    assert [int(first[4 + 16 + 36 * k, 0]) for k in range(4)] == [50, 113, 186, 250]
    assert int(first[4 + 16 + 36 * 4, 0]) == 24
    second = sheet[4 + 52 + 16 + 16]
    assert [int(second[4 + 32 + 68 * k, 0]) for k in range(3)] == [50, 150, 250]
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize("label", ["a red ball " * 40, "ü 😀 漢字 \n two lines", ""])
def test_any_label_fits(tmp_path: Path, label: str) -> None:
    write_contact_sheet(tmp_path / "a.png", [(label, ramp(2))], columns=2, cell_height=32)
    sheet = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    assert sheet.shape[1] == 4 + 2 * 36
    assert (sheet[4:18].max() > 150) == bool(label)
    assert np.ptp(sheet[:, -2:]) == 0


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"try a\.png"):
        write_contact_sheet(tmp_path / "a.mp4", [("x", ramp(2))])
    with pytest.raises(UsageError, match="at least one"):
        write_contact_sheet(tmp_path / "a.png", [])
    (tmp_path / "file").touch()
    with pytest.raises(MachineError):
        write_contact_sheet(tmp_path / "file" / "a.png", [("x", ramp(2))])
