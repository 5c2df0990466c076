"""The positions of keys, against documents whose writer notes the line of every key while it writes."""

from __future__ import annotations

from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from soracli.recipe.lines import KeyPath, key_lines, key_positions
from soracli.recipe.toml_text import toml_key, toml_value

KEYS = st.sampled_from(["a", "b", "depth", "a b", "x.y", 'q"', "ü", "1", "-"])
SCALARS = st.one_of(
    st.integers(-9, 9),
    st.booleans(),
    st.floats(allow_nan=False),
    st.text(st.sampled_from("ab\"\\#[]{}=,.\n\té'"), max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
FILLER = st.sampled_from(["", "\n", "# [dit]\n", "\n# depth = 'x\n\n", "  \n"])


class Writer:
    """Writes TOML in many shapes and notes where each key went."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.text = draw, ""
        self.lines: dict[KeyPath, int] = {}

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def table(self, content: dict[str, Any], path: KeyPath, names: list[str]) -> None:
        below = {key: value for key, value in content.items() if self.is_table(value) and self.draw(st.booleans())}
        for key, value in content.items():
            if key not in below:
                self.text += self.draw(FILLER)
                self.note((*path, key))
                self.text += f"{toml_key(key)} = "
                self.value(value, (*path, key))
                self.text += self.draw(st.sampled_from(["\n", " # depth = 3\n", "\t\n"]))
        for key, value in below.items():
            header = [*names, toml_key(key)]
            for index, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
                self.text += self.draw(FILLER)
                here = (*path, key) if index is None else (*path, key, index)
                self.note((*path, key))
                self.note(here)
                self.text += f"[ {' . '.join(header)} ]\n" if index is None else f"[[{'.'.join(header)}]] # x\n"
                self.table(item, here, header)

    @staticmethod
    def is_table(value: Any) -> bool:
        items = value if isinstance(value, list) else [value]
        return bool(items) and all(isinstance(item, dict) for item in items)

    def value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self.text += self.draw(st.sampled_from(["", " ", "\n  ", " # ], 'no\n"]))
                self.note((*path, index))
                self.value(item, (*path, index))
                self.text += self.draw(st.sampled_from([",", " ,", "\n,"]))
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, (key, item) in enumerate(value.items()):
                self.text += ", " if index else " "
                self.note((*path, key))
                self.text += f"{toml_key(key)} = "
                self.value(item, (*path, key))
            self.text += " }"
        elif isinstance(value, str) and "'" not in value and self.draw(st.booleans()):
            self.text += f"'''\n{value}'''"
        elif isinstance(value, str) and self.draw(st.booleans()):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            self.text += f'"""\n{escaped}"""'
        else:
            self.text += toml_value(value)


@given(st.data())
def test_every_key_is_found_on_its_line(data: st.DataObject) -> None:
    content = data.draw(st.dictionaries(KEYS, VALUES, max_size=5))
    writer = Writer(data.draw)
    writer.table(content, (), [])
    assert tomli.loads(writer.text) == content, "the writer of this test is wrong"
    assert key_lines(writer.text) == writer.lines
    assert key_lines(writer.text.replace("\n", "\r\n")) == writer.lines


def test_dotted_keys_and_headers_imply_their_tables() -> None:
    text = 'dit.depth = 3\n"run" . name = 1\n[a.b]\nc = 1\n[a]\nd = 2\n'
    assert key_lines(text) == {
        ("dit",): 1,
        ("dit", "depth"): 1,
        ("run",): 2,
        ("run", "name"): 2,
        ("a", "b"): 3,
        ("a", "b", "c"): 4,
        ("a",): 5,
        ("a", "d"): 6,
    }


def test_tables_below_a_list_of_tables_belong_to_its_last_item() -> None:
    text = "[[a]]\n[a.b]\nx = 1\n[[a]]\n[[a.c]]\n[[a.c]]\ny = 2\n"
    lines = key_lines(text)
    assert lines["a", 0, "b", "x"] == 3
    assert lines["a", 1, "c", 1, "y"] == 7


def test_quotes_of_every_kind_end_where_they_end() -> None:
    text = 'a = \'\'\'x\'\'\'\'\nb = """\\""""""\nc = \'\'\nd = ""\ne = "\\"\\\\"\nf = 1979-05-27 07:32:00\ng = 1'
    assert tomli.loads(text)["g"] == 1
    assert [line for _, line in key_positions(text)] == [1, 2, 3, 4, 5, 6, 7]


@given(st.text(st.sampled_from("ab.=[]{}\"'\\#\n, 1"), max_size=30))
def test_text_that_is_no_toml_ends_quietly(text: str) -> None:
    positions = list(key_positions(text))
    assert all(1 <= line <= text.count("\n") + 1 for _, line in positions)


@given(st.text(st.sampled_from("ab.=[]{}\"'\\#\n, 1"), max_size=30))
def test_what_tomli_reads_is_found_whole(text: str) -> None:
    try:
        parsed = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    assert set(key_lines(text)) == set(paths(parsed, ()))


def paths(value: Any, path: KeyPath) -> list[KeyPath]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    for key, item in items:
        found += paths(item, (*path, key))
    return found
