"""HTML reports: one set of templates (`templates/`), escaped, self-contained and without a script."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["draw", "render"]


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("taintwatch_calibration"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share, digits=1: f"{share:.{digits}%}"
    return environment


def render(template: str, **values: object) -> Markup:
    """Return a template of `templates/` filled with `values`; what is no `Markup` is escaped."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 (escaped by the template)


def draw(chart: str, *values: object) -> Markup:
    """Return a chart: a macro of `charts.html`, by name, called with `values`."""
    return Markup(getattr(_environment().get_template("charts.html").module, chart)(*values))  # noqa: S704
