"""The matrix of faults: which of its rows have a test, by the marker ``row``, and what docs/reliability.md says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

NUM_ROWS = 71
"""Rows of the matrix in docs/reliability.md."""

_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def marked_rows(marks: Iterable[tuple[object, ...]]) -> set[int]:
    """The rows that marks name.

    Args:
        marks: The arguments of each ``@pytest.mark.row(...)``.

    Raises:
        ValueError: If one names none, or one that is not in the matrix.
    """
    rows: set[int] = set()
    for numbers in marks:
        wrong = [number for number in numbers if not isinstance(number, int) or not 1 <= number <= NUM_ROWS]
        if wrong or not numbers:
            raise ValueError(f"row({', '.join(map(str, numbers))}): rows are 1 to {NUM_ROWS}")
        rows.update(number for number in numbers if isinstance(number, int))
    return rows


def marks_in_sources(root: Path) -> dict[tuple[str, str], set[int]]:
    """Rows of every marked test, by file (from the root of the checkout) and name; nothing is imported."""
    found: dict[tuple[str, str], set[int]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.row(" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                calls = [mark for mark in node.decorator_list if isinstance(mark, ast.Call)]
                marks = [mark for mark in calls if ast.unparse(mark.func) == "pytest.mark.row"]
                if rows := marked_rows(tuple(ast.literal_eval(number) for number in mark.args) for mark in marks):
                    found[str(path.relative_to(root)), node.name] = rows
    return found


def rows_in_document(text: str) -> list[tuple[int, str]]:
    """Number and last cell of every row of the table."""
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    return [(int(cells[0]), cells[-1].strip()) for cells in lines]


def named_tests(cell: str) -> list[tuple[str, str]]:
    """Files, and names where one is given, in a cell of the table."""
    return [(match[1], match[2] or "") for match in _TEST.finditer(cell)]


def say_rows(passed: set[int], marked: set[int]) -> str:
    """One line: how many rows passed in this run; tests of others are of other tiers or files, or failed."""
    none = NUM_ROWS - len(passed | marked)
    return (
        f"rows of docs/reliability.md: {len(passed)} of {NUM_ROWS} passed in this run, "
        f"{len(marked - passed)} more have tests, {none} have none"
    )
