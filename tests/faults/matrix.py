"""The matrix of faults: which of its rows have a test, by the marker ``row``."""

from __future__ import annotations

from collections.abc import Iterable

NUM_ROWS = 71
"""Rows of the matrix in docs/reliability.md."""


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


def say_rows(collected: set[int], passed: set[int]) -> str:
    """One line: how many rows of the matrix the tests of this run stand for."""
    return f"faults: {len(passed)} of {NUM_ROWS} rows passed here, {len(collected)} have tests in this run"
