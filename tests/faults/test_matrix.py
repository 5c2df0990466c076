"""Marks that name rows of the matrix are counted, others are mistakes; and tables are read cell by cell."""

import pytest

from tests.faults.matrix import marked_rows, marks_in_sources, named_tests, rows_in_document, say_rows


def test_rows_are_counted_once():
    assert marked_rows([(1,), (2, 3), (3,)]) == {1, 2, 3}
    said = "rows of docs/reliability.md: 1 of 71 passed in this run, 2 more have tests, 68 have none"
    assert say_rows({1}, {1, 2, 3}) == said


@pytest.mark.parametrize("numbers", [(), (0,), (72,), ("3",)])
def test_a_row_that_is_not_there_is_a_mistake(numbers):
    with pytest.raises(ValueError, match="rows are 1 to 71"):
        marked_rows([numbers])


def test_marks_are_read_without_importing(tmp_path):
    (tmp_path / "tests").mkdir()
    text = "import gone\n@pytest.mark.slow\n@pytest.mark.row(1, 2)\n@pytest.mark.row(3)\ndef test_a():\n    pass\n\n\n"
    (tmp_path / "tests/test_one.py").write_text(text + "@pytest.mark.slow\ndef test_b():\n    pass\n")
    assert marks_in_sources(tmp_path) == {("tests/test_one.py", "test_a"): {1, 2, 3}}


def test_the_table_is_read_by_number_and_last_cell():
    text = (
        "| row | fault |\n|---|---|\n| 1 | a | b | `tests/a.py::test_x` (slow), `tests/b.py` |\n| 2 | c | none: d |\n"
    )
    assert rows_in_document(text) == [(1, "`tests/a.py::test_x` (slow), `tests/b.py`"), (2, "none: d")]
    assert named_tests(rows_in_document(text)[0][1]) == [("tests/a.py", "test_x"), ("tests/b.py", "")]
