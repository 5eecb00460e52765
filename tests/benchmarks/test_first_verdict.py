"""What a newcomer reads before the first command is counted, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.first_verdict import words_until
from taintwatch_models.errors import UsageError


def test_words_are_those_that_are_read_up_to_the_command() -> None:
    page = (
        "# Name\n\n![a picture](a.png)\n\nReads [a page](b.md) **now**.\n<!-- note -->\n```\ndo it DIR\nand more\n```\n"
    )
    assert words_until(page, "do it") == len(["Name", "Reads", "a", "page", "now", ".", "do", "it", "DIR"])


def test_a_page_without_the_command_is_an_error() -> None:
    with pytest.raises(UsageError, match="does not name"):
        words_until("nothing", "taintwatch check")
