"""Check that a tag is the version of pyproject.toml and CITATION.cff, and that the changelog has a dated entry."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def problems(tag: str, root: Path) -> list[str]:
    """Return what has to be mended before `tag` can be released."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, pyproject.toml says {version}")
    if not re.search(rf"^version: \"?{re.escape(version)}\"?$", (root / "CITATION.cff").read_text(), re.M):
        found.append(f"CITATION.cff does not say version {version}")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", (root / "CHANGELOG.md").read_text(), re.M):
        found.append(f"CHANGELOG.md has no dated entry for {version}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(sys.argv[1], Path.cwd())) or 0)
