"""Target networks that stay as they are while their online networks move."""

from __future__ import annotations

from collections.abc import Iterator

import torch as th
from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.diagnosis import RunFacts, Still
from sacdoctor.diagnosis.rules import stale_target
from sacdoctor.model import Finding
from sacdoctor.training.live import LiveModel

_PAIRS = 2
"""Pairs of checks in which a target has to stand, as with the checkpoints of a run."""
_LONGEST_INTERVAL = 10_000
"""Steps between two copies where the algorithm is one's own: SB3's default for DQN, the longest."""


class _Seen(Struct, frozen=True):
    """A target network when it last moved: sums over its tensors and the online network's."""

    own: tuple[float, ...]
    online: tuple[float, ...]
    timesteps: int
    updates: int
    pairs: int = 0


class StandingTargets:
    """Watches whether target networks follow; for the rule about those of a run's checkpoints."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def look(self, live: LiveModel, timesteps: int) -> Iterator[Finding]:
        """Yield a finding over the targets that stood still for long while others moved."""
        stale: dict[str, Still] = {}
        for part, names in _targets(live).items():
            now = _Seen(*_sums(live, names), timesteps, live.n_updates)
            before = self._seen.get(part)
            if before is None or now.own != before.own or now.online == before.online:
                self._seen[part] = now
                continue
            self._seen[part] = before = replace(before, pairs=before.pairs + 1)
            if before.pairs >= _PAIRS and _was_due(live, before, now):
                stale[part] = Still(before.timesteps, timesteps, before.pairs, tuple(names))
        if stale:
            run = RunFacts({}, (), (), {}, stale)
            yield from stale_target.RULE.findings_in(run)


def _was_due(live: LiveModel, before: _Seen, now: _Seen) -> bool:
    """Return whether a healthy target would have moved twice since."""
    pace = live.pace()
    interval = pace.target_update_interval if live.algorithm is not None else _LONGEST_INTERVAL
    begun = max(before.timesteps, pace.learning_starts)
    # DQN counts its interval in environment steps, SAC in updates.
    return now.timesteps - begun > 2 * interval and now.updates - before.updates > 2 * max(
        pace.policy_delay, interval
    )


def _targets(live: LiveModel) -> dict[str, list[str]]:
    """Return the parameters of each target network that have an online counterpart, by name."""
    parts: dict[str, list[str]] = {}
    for name in live.parameters:
        if live.counterpart(name) is not None:
            parts.setdefault(live.roles[name].component, []).append(name)
    return parts


def _sums(live: LiveModel, names: list[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    own = [live.parameters[name].detach().sum(dtype=th.float64) for name in names]
    online = [
        live.parameters[counterpart].detach().sum(dtype=th.float64)
        for name in names
        if (counterpart := live.counterpart(name)) is not None
    ]
    return tuple(th.stack(own).tolist()), tuple(th.stack(online).tolist())
