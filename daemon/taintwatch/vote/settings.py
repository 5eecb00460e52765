"""From plain settings to a policy: what a configuration file says in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from taintwatch.vote.exponential import ExponentiallyWeighted
from taintwatch.vote.policy import Policy
from taintwatch.vote.sequential import SequentialProbabilityRatio
from taintwatch.vote.window import KofN
from taintwatch_models.errors import ConfigError

__all__ = ["POLICIES", "policy_from_settings"]

POLICIES: Mapping[str, Callable[..., Policy[Any]]] = {
    "exponentially-weighted": ExponentiallyWeighted,
    "k-of-n": KofN,
    "sequential-probability-ratio": SequentialProbabilityRatio,
}


def policy_from_settings(kind: str, **options: Any) -> Policy[Any]:
    """Return the policy `kind` (a key of `POLICIES`; `_` may stand for `-`) with `options` as its limits.

    Options left out keep the policy's defaults. Raises `ConfigError` for an unknown kind or option, or a value that is
    nonsense.
    """
    make = POLICIES.get(kind.lower().replace("_", "-"))
    if make is None:
        raise ConfigError(f"Vote setting 'policy' has value {kind!r}. Give one of: {', '.join(POLICIES)}.")
    known = [field.name for field in fields(make)]  # type: ignore[arg-type]  # every policy is a dataclass
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigError(f"Vote policy '{kind}' has no setting '{unknown[0]}'. It has: {', '.join(known)}.")
    return make(**options)
