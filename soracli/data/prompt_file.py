"""Lists of prompts in text files."""

from __future__ import annotations

from pathlib import Path

from soracli.core.errors import DataError


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file, one a line; empty lines and lines that begin with ``#`` are left out.

    Raises:
        DataError: If the file is missing, cannot be read, is not UTF-8, or holds no prompt.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it should hold one prompt a line") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    lines = (line.strip() for line in text.splitlines())
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise DataError(f"{path} holds no prompt: write one a line")
    return prompts
