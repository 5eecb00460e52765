"""The line of every key: checked against texts built so that the answer is known."""

from __future__ import annotations

import json
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from taintwatch.config.line_map import line_numbers, line_of

_NAMES = st.text(alphabet="ab\"\\.'# =é[]", min_size=1, max_size=5)
_PADDING = st.sampled_from(["", "# [x]\n", "\n\n", '# """\n'])
_VALUES = st.sampled_from(
    ["1", '"]#"', '"""\n"\\"""\n"""', "'''\n''''", "[\n1, # ]\n{a = '}'},\n]", "{a = 1, b.c = [2]}"]
)


@given(st.lists(st.tuples(_PADDING, _NAMES, _VALUES), unique_by=lambda item: item[1], max_size=6))
def test_each_key_is_found_on_the_line_where_it_was_written(items: list[tuple[str, str, str]]) -> None:
    text, expected = "", {}
    for padding, name, value in items:
        text += padding
        expected[name] = text.count("\n") + 1
        text += f"{json.dumps(name, ensure_ascii=False)} = {value}\n"
    assert tomllib.loads(text).keys() == expected.keys()
    found = line_numbers(text)
    assert {name: found[(name,)] for name in expected} == expected


def test_elements_inner_keys_and_tables_have_their_own_lines() -> None:
    text = "a.b = 1\n[[t]]\nx = [\n 1,\n {y = 2}]\n[t.u]\nv=1\n[[t]]\nx=0\n"
    found = line_numbers(text)
    assert found[("a", "b")] == 1
    assert found[("t", 0)] == 2
    assert found[("t", 0, "x", 1, "y")] == 5
    assert found[("t", 0, "u", "v")] == 7
    assert found[("t", 1, "x")] == 9


def test_what_is_not_there_is_placed_at_the_nearest_thing_around_it() -> None:
    lines = line_numbers("\n[vote]\nk = 1\n")
    assert line_of(lines, ("vote", "n")) == 2
    assert line_of(lines, ("model", "path")) is None
