"""Marks that name rows of the matrix are counted; others are mistakes; the document and the marks agree."""

import re
from pathlib import Path

import pytest

from tests.faults.matrix import NUM_ROWS, marked_rows, say_rows


def test_rows_are_counted_once():
    assert marked_rows([(1,), (2, 3), (3,)]) == {1, 2, 3}
    assert say_rows({1, 2, 3}, {1}) == "faults: 1 of 71 rows passed here, 3 have tests in this run"


@pytest.mark.parametrize("numbers", [(), (0,), (72,), ("3",)])
def test_a_row_that_is_not_there_is_a_mistake(numbers):
    with pytest.raises(ValueError, match="rows are 1 to 71"):
        marked_rows([numbers])


def test_every_row_of_the_document_names_tests_that_stand_for_it(repository: Path):
    marked: dict[str, set[int]] = {}
    for path in sorted((repository / "tests").rglob("test_*.py")):
        for numbers in re.findall(r"^@pytest\.mark\.row\(([\d, ]+)\)$", path.read_text(), re.MULTILINE):
            name = path.relative_to(repository).as_posix()
            marked.setdefault(name, set()).update(int(number) for number in numbers.split(","))
    text = (repository / "docs/reliability.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, NUM_ROWS + 1))
    for number, tests in rows:
        files = set(re.findall(r"`(tests/[\w/.]+)`", tests))
        assert files == {name for name, numbers in marked.items() if int(number) in numbers}, number
        assert files or tests.startswith("none: "), number
