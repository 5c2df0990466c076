"""What a video file says about how it was made: the record that ``VideoWriter`` put in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from soracli.core.errors import DataError
from soracli.core.json_text import parse_json
from soracli.data.ffmpeg import DEFAULT_TIMEOUT, FFmpegOutput, checked_file, input_arguments

_COMMENT = re.compile(r"^comment=((?:\\.|[^\\\n])*)$", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_MAX_BYTES = 1 << 20


def read_record(path: Path) -> dict[str, Any]:
    """The record in a video's comment tag; empty if there is none, or the file is no video.

    Args:
        path: An mp4, mov, mkv or webm.
    """
    try:
        file = checked_file(path)
        with FFmpegOutput([*input_arguments(file), "-f", "ffmetadata", "pipe:1"], DEFAULT_TIMEOUT, file) as output:
            text = output.read_text(_MAX_BYTES)
    except DataError:
        return {}
    found = _COMMENT.search(text)
    try:
        # The format escapes its own signs with a backslash.
        record = parse_json(re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)) if found else {}
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
