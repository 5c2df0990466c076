"""The table of docs/reliability.md against the marks of the tests: each row once, and what it names stands for it."""

from __future__ import annotations

from pathlib import Path

from tests.faults.matrix import NUM_ROWS, marks_in_sources, named_tests, rows_in_document


def test_every_row_is_there_once_and_in_order(repository: Path) -> None:
    rows = rows_in_document((repository / "docs/reliability.md").read_text(encoding="utf-8"))
    assert [number for number, _ in rows] == list(range(1, NUM_ROWS + 1))


def test_what_a_row_names_is_marked_with_it(repository: Path) -> None:
    """And the other way round: a file with a test for the row is named there."""
    marked = marks_in_sources(repository)
    for number, cell in rows_in_document((repository / "docs/reliability.md").read_text(encoding="utf-8")):
        named, tests = named_tests(cell), [test for test, rows in marked.items() if number in rows]
        if cell.startswith("none: "):
            assert not named and not tests, f"row {number} has tests: {tests}"
            continue
        assert {file for file, _ in named} == {file for file, _ in tests}, f"row {number}"
        for file, name in named:
            assert not name or (file, name) in tests, f"row {number}: {file} has no test {name} that is marked with it"
