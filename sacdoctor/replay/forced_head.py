"""The oldest transitions of a replay buffer: were their actions forced on the agent?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sacdoctor.replay.buffer import ReplayBuffer

SHORTEST = 20
"""Rows. A shorter run of one action is not reported, whatever it is."""
SHORTEST_AT_BOUND = 50
LONGER_THAN_LATER = 4
"""A run at the action space's bounds, or of a discrete action, may be an agent's own choice: a
saturated or greedy policy. It must be this many times as long as any later one. A judgement."""


class ForcedHead(Struct, frozen=True):
    """Forced actions at the head of a replay buffer.

    `transitions` counts rows times environments, `rows` the rows in which any environment's action
    is forced. "constant": one and the same action is stored. "varied": other actions are stored
    than the environment carried out. `action` is the stored action as SB3 stores it (Box actions
    scaled to [-1, 1]), None where it varies or differs between environments. `earliest` and
    `latest` are the transitions at which the head may end, equal where that is exact.
    """

    transitions: int
    rows: int
    stored: Literal["constant", "varied"]
    action: tuple[float, ...] | None
    earliest: int
    latest: int
    evidence: str

    @property
    def is_exact(self) -> bool:
        """Whether the end is known to the step."""
        return self.earliest == self.latest


class Doubt(Struct, frozen=True):
    """Why forced actions cannot be told; `boundary` is the transition at which they may have ended,
    where one is suspected."""

    reason: str
    boundary: int | None = None


def constant_head(buffer: ReplayBuffer) -> tuple[ForcedHead | None, Doubt | None]:
    """Return the head in which each environment's stored action never changes.

    Without one, the second value says why a constant run was not taken for forced, if there is
    one. A policy that samples from a continuous space never stores one action twice, so `SHORTEST`
    rows are enough there, and the end is exact to the step; see `LONGER_THAN_LATER` for actions
    that a policy may well repeat. It may have gone on with the forced action for as long as it ever
    chose that action later: the head ends that much earlier, or at the change.
    """
    repeats, as_first = _repeats(buffer)
    runs = [_head(repeats[:, env]) for env in range(buffer.n_envs)]
    first = buffer.take("actions", np.zeros(1, np.int64))[0].reshape(buffer.n_envs, -1)
    may_choose = buffer.arrays["actions"].dtype.kind != "f" or bool(
        (np.abs(first) == 1.0).all(axis=1).any()
    )
    if not np.isfinite(first).all():
        return None, Doubt("the first stored actions are not finite")
    shortest = SHORTEST_AT_BOUND if may_choose else SHORTEST
    if min(runs, default=0) < shortest:
        return None, None
    if may_choose:
        later = max(_longest(repeats[run:, env]) for env, run in enumerate(runs))
        if max(runs) == buffer.size or min(runs) < LONGER_THAN_LATER * later:
            return None, Doubt(
                f"the first {min(runs):,} rows store one action, which may be the agent's own "
                "choice: it stands at the bounds or is discrete, and runs like it come later too, "
                "or nothing else is stored",
                sum(runs),
            )
    total = sum(runs)
    chosen = 0
    if may_choose:
        later_ones = (as_first[run:, env] for env, run in enumerate(runs))
        chosen = sum(
            min(max(1, _longest_true(later)), run)
            for later, run in zip(later_ones, runs, strict=True)
        )
    same = bool((first == first[0]).all()) and len(set(runs)) == 1
    action = tuple(float(x) for x in first[0]) if bool((first == first[0]).all()) else None
    where = "" if buffer.n_envs == 1 else f" in each of {buffer.n_envs} environments"
    if not same:
        where += ", each its own action or for its own time"
    said = "" if action is None else f", {_listed(action)}"
    own = "" if not chosen else f"; the agent may have chosen the last {chosen:,} itself"
    return (
        ForcedHead(
            transitions=total,
            rows=max(runs),
            stored="constant",
            action=action,
            earliest=total - chosen,
            latest=total,
            evidence=f"the first {total:,} stored actions are one and the same{said}{where}{own}",
        ),
        None,
    )


def _listed(action: tuple[float, ...]) -> str:
    shown = ", ".join(f"{x:g}" for x in action[:8])
    return f"[{shown}{', …' if len(action) > 8 else ''}]"


def _repeats(buffer: ReplayBuffer) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each action equals the one of the row before, and the first of all, both of
    shape `(size, n_envs)`."""
    repeats = np.zeros((buffer.size, buffer.n_envs), np.bool_)
    as_first = np.zeros_like(repeats)
    at, first, last = 0, None, None
    for rows in buffer.rows("actions", 0, buffer.size):
        flat = rows.reshape(len(rows), buffer.n_envs, -1)
        first = flat[0].copy() if first is None else first
        as_first[at : at + len(flat)] = (flat == first).all(axis=2)
        repeats[at + 1 : at + len(flat)] = (flat[1:] == flat[:-1]).all(axis=2)
        if last is not None:
            repeats[at] = (flat[0] == last).all(axis=1)
        at, last = at + len(flat), flat[-1]
    return repeats, as_first


def _head(repeats: NDArray[np.bool_]) -> int:
    """Return how many rows from the first on hold one action."""
    changes = np.flatnonzero(~repeats[1:])
    return int(changes[0]) + 1 if len(changes) else len(repeats)


def _longest(repeats: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of one action."""
    if not len(repeats):
        return 0
    starts = np.flatnonzero(np.concatenate(([True], ~repeats[1:])))
    return int(np.diff(np.append(starts, len(repeats))).max())


def _longest_true(values: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    breaks = np.flatnonzero(~values)
    return int(np.diff(np.concatenate(([-1], breaks, [len(values)]))).max()) - 1
