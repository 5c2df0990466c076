"""Marks that name rows of the matrix are counted; others are mistakes."""

import pytest

from tests.faults.matrix import marked_rows, say_rows


def test_rows_are_counted_once():
    assert marked_rows([(1,), (2, 3), (3,)]) == {1, 2, 3}
    assert say_rows({1, 2, 3}, {1}) == "faults: 1 of 71 rows passed here, 3 have tests in this run"


@pytest.mark.parametrize("numbers", [(), (0,), (72,), ("3",)])
def test_a_row_that_is_not_there_is_a_mistake(numbers):
    with pytest.raises(ValueError, match="rows are 1 to 71"):
        marked_rows([numbers])
