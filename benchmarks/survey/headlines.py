"""The survey's rows with figures: what a system comes to here, in few words, beside what its source publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.survey.attacks import ATTACKS
from taintwatch.alarm_rates import wilson_interval

__all__ = ["PLAIN", "headline", "published", "share_text"]

Cell = Mapping[str, Any]
PLAIN = "signs_vgg"
"""The network that the robust ones begin with, and that all attacks and detectors meet on."""


_PAGES = {
    "benchmarks.art_comparison": "[crafting](crafting.md)",
    "benchmarks.faces": "[faces](faces.md)",
    "benchmarks.objects": "[the object guard](objects.md)",
    "benchmarks.published.region": "[the region attacks](published.md#the-region-attacks)",
    "benchmarks.zoo": "[zoo](zoo.md)",
}
"""Where the figures of other benches are read."""


def headline(row: Cell, result: Cell) -> str:
    """Return what the cells say of one row, or a link to its figures; `not measured` where there is no cell."""
    kind, _, name = row["here"].partition(" ")
    if kind == "python":
        return _PAGES[name.split()[1]]
    found = _OF[kind](name, result)
    return found or "not measured"


def published(row: Cell) -> str:
    """Return the sources' figures of one row."""
    kind, _, name = row["here"].partition(" ")
    return ATTACKS[name].published if kind == "attack" else row["published"]


def share_text(cell: Cell | None) -> str:
    """`12 of 20 (39 to 78%)`, the 95% Wilson interval in brackets."""
    if not cell or not cell["n"]:
        return "-"
    low, high = cell["interval"]
    return f"{cell['count']} of {cell['n']} ({100 * low:.0f} to {100 * high:.0f}%)"


def _of_attack(name: str, result: Cell) -> str:
    cells = [cell for cell in result["attacks"] if cell["attack"] == name]
    parts = [f"{cell['network']}: {cell['success']['count']} of {cell['success']['n']}" for cell in cells]
    return ", ".join(parts)


def _of_detector(name: str, result: Cell) -> str:
    cells = {c["network"]: c for c in result["detectors"] if c["detector"] == name and "out" not in c}
    if not cells:
        return ""
    network = PLAIN if PLAIN in cells else next(iter(cells))  # PatchGuard needs a head that pools
    cell = cells[network]
    sees = [f"{kind} {share_text(_pooled(cell, kind))}" for kind in ("physical", "digital")]
    text = f"{'' if network == PLAIN else f'{network}: '}sees at 2%: {', '.join(sees)}"
    if "recovery" in cell:
        benign, attacked = cell["recovery"]["benign"], _sum(_attacks_of(cell["recovery"]).values())
        text += f"; right behind it: benign {share_text(benign)}, attacked {share_text(attacked)}"
    return text


def _of_network(name: str, result: Cell) -> str:
    parts = []
    for attack in ("pgd", "cw"):
        counts = {cell["network"]: cell["success"] for cell in result["attacks"] if cell["attack"] == attack}
        if name in counts and PLAIN in counts:
            parts.append(f"{attack} {share_text(counts[name])}, without it {share_text(counts[PLAIN])}")
    return "; ".join(parts)


_OF: dict[str, Callable[[str, Cell], str]] = {
    "attack": _of_attack, "detector": _of_detector, "network": _of_network,
}  # fmt: skip


def _attacks_of(shares: Mapping[str, Cell]) -> dict[str, Cell]:
    return {name: share for name, share in shares.items() if name in ATTACKS}


def _pooled(detector: Cell, kind: str) -> Cell:
    """What a detector sees at 2% of all successes of a kind of attack, each attack by its number of successes."""
    return _sum(tpr["0.02"] for name, tpr in detector["tpr"].items() if ATTACKS[name].kind == kind)


def _sum(shares: Iterable[Cell]) -> Cell:
    pairs = [(share["count"], share["n"]) for share in shares]
    count, total = sum(c for c, _ in pairs), sum(n for _, n in pairs)
    return {"count": count, "n": total, "interval": wilson_interval(count, total)}
