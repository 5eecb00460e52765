"""What MkDocs calls before it builds the documentation (mkdocs.yml names it): mends what a plug-in writes."""

from __future__ import annotations

from typing import Any

from mkdocs_click import _docs

__all__ = ["on_startup"]


def on_startup(**_: Any) -> None:
    """Say in the reference of the command line which options are required, and nothing of what has no default.

    mkdocs-click 0.9 prints click's own mark of a missing default, `Sentinel.UNSET`, for both.
    """
    plain = _docs._format_table_option_row

    def row(option: Any) -> str:
        without = "required" if option.required else ""
        written: str = plain(option)
        for mark in ("`Sentinel.UNSET`", "_required", "None"):
            written = written.replace(f" | {mark} |", f" | {without} |")
        return written

    _docs._format_table_option_row = row
