"""What every test gets: one thread, fixed seeds, folders to read from and to write to, and golden values."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# Before anything imports torch, which reads it once: the tests of one file run beside others on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from tests.faults.matrix import marked_rows, marks_in_sources, say_rows

hypothesis.settings.register_profile("sora", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("sora")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Seed what is imported; tests that need no torch stay free of it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def repository() -> Path:
    """The root of the checkout, to read from."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is also the current one, to write to with relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


_ROWS = pytest.StashKey[dict[str, set[int]]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember which rows of the matrix of faults each test stands for."""
    rows = {item.nodeid: marked_rows(mark.args for mark in item.iter_markers("row")) for item in items}
    config.stash[_ROWS] = {name: found for name, found in rows.items() if found}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many rows of the matrix of faults passed here, and how many more have tests, by the sources.

    A row passes when all its tests that were run did, and at least one was run.
    """
    rows = config.stash.get(_ROWS, {})
    if not rows:
        return
    passed = {report.nodeid for report in terminalreporter.stats.get("passed", []) if report.when == "call"}
    broken = {report.nodeid for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, [])}
    whole = set().union(*(rows[name] for name in rows if name in passed))
    whole -= set().union(*(rows[name] for name in rows if name in broken))
    marked = marks_in_sources(Path(__file__).resolve().parents[1]).values()
    terminalreporter.write_line(say_rows(whole, set().union(*marked)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden values are renewed by ``pytest --update-golden``; say in the commit why they changed."""
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden anew instead of comparing with it"
    )


@pytest.fixture
def golden_text(request: pytest.FixtureRequest, repository: Path) -> Callable[[str, str], None]:
    """A check that a text is the one in ``tests/golden/NAME``."""

    def check(name: str, text: str) -> None:
        path = repository / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; if that is meant: pytest --update-golden"

    return check


@pytest.fixture
def golden_numbers(request: pytest.FixtureRequest, repository: Path) -> Callable[[str, Sequence[float]], None]:
    """A check that numbers are those in ``tests/golden/NAME``, one a line, to 1e-4 of themselves."""

    def check(name: str, numbers: Sequence[float]) -> None:
        path = repository / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{number:.9g}\n" for number in numbers), encoding="utf-8")
        expected = [float(line) for line in path.read_text(encoding="utf-8").split()]
        assert list(numbers) == pytest.approx(expected, rel=1e-4), f"{path}: if that is meant: pytest --update-golden"

    return check
