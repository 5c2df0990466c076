"""Unpack animated emoji out of npm archives and write their captions; called by fetch_emoji.sh.

Usage: name_emoji.py ARCHIVE.tgz ... DIR

Writes DIR/<code points>.webp and DIR/metadata.jsonl with file_name, caption and split. Only members named
``package/assets/*.webp`` are read, and their names are made anew from the code points, so an archive cannot write
elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import emoji
from PIL import Image

SKIN_TONES = range(0x1F3FB, 0x1F400)
VARIATION_SELECTOR = 0xFE0F
GENDER_SIGNS = (0x2640, 0x2642)
JOINER = 0x200D
PERSON, MAN, WOMAN = 0x1F9D1, 0x1F468, 0x1F469
VALIDATION_SHARE = 20
MAX_BYTES = 16 << 20

_MEMBER = re.compile(r"package/assets/([0-9a-f]{2,6}(?:[-_][0-9a-f]{2,6})*)\.webp")


def code_points(stem: str) -> list[int]:
    """The code points of a file name such as ``1f6b4-200d-2642-fe0f``."""
    return [int(part, 16) for part in re.split("[-_]", stem)]


def caption_of(points: list[int]) -> str | None:
    """The English name in plain words, such as ``person biking``; None for a sequence without a name.

    File names sometimes leave out, or add, the variation selector that asks for a coloured picture.
    """
    plain = [point for point in points if point != VARIATION_SELECTOR]
    for candidate in (points, [*points, VARIATION_SELECTOR], plain, [*plain[:1], VARIATION_SELECTOR, *plain[1:]]):
        entry = emoji.EMOJI_DATA.get("".join(map(chr, candidate)))
        if entry is not None:
            return str(entry["en"]).strip(":").replace("_", " ")
    return None


def split_of(points: list[int]) -> str:
    """``validation`` for about one base emoji in 20, else ``train``.

    The base leaves out skin tone, gender and variation selectors: a man, a woman and a person who row move alike, so
    they must be on one side.
    """
    dropped = {*SKIN_TONES, *GENDER_SIGNS, JOINER, VARIATION_SELECTOR}
    base = [PERSON if point in (MAN, WOMAN) else point for point in points if point not in dropped]
    digest = hashlib.sha256("-".join(f"{point:x}" for point in base).encode("ascii")).digest()
    return "validation" if int.from_bytes(digest[:8], "big") % VALIDATION_SHARE == 0 else "train"


def main(archives: list[Path], folder: Path) -> int:
    """Unpack, name, and tell on stderr what was kept; the folder goes to stdout."""
    records: list[dict[str, str]] = []
    toned = still = unnamed = 0
    for archive in archives:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                found = _MEMBER.fullmatch(member.name)
                if found is None or not member.isfile() or member.size > MAX_BYTES:
                    continue
                points = code_points(found[1])
                if any(point in SKIN_TONES for point in points):
                    toned += 1
                    continue
                packed = members.extractfile(member)
                content = packed.read() if packed is not None else b""
                with Image.open(io.BytesIO(content), formats=("WEBP",)) as picture:
                    if getattr(picture, "n_frames", 1) < 2:
                        still += 1
                        continue
                caption = caption_of(points)
                if caption is None:
                    print(f"no name, left out: {found[1]}", file=sys.stderr)
                    unnamed += 1
                    continue
                name = "-".join(f"{point:x}" for point in points) + ".webp"
                (folder / name).write_bytes(content)
                records.append({"file_name": name, "caption": caption, "split": split_of(points)})
    records.sort(key=lambda record: record["file_name"])
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    part = folder / "metadata.jsonl.part"
    part.write_text("".join(lines), encoding="utf-8")
    part.replace(folder / "metadata.jsonl")
    validation = sum(record["split"] == "validation" for record in records)
    print(
        f"{len(records)} animated emoji ({validation} for validation); left out: {toned} skin tones, {still} stills, "
        f"{unnamed} without a name",
        file=sys.stderr,
    )
    print(folder)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} ARCHIVE.tgz ... DIR")
    sys.exit(main([Path(name) for name in sys.argv[1:-1]], Path(sys.argv[-1])))
