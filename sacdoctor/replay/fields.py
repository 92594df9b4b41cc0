"""What the fields of a transition are called, and buffers made of such fields.

Names: SB3, CleanRL (`observations`, `next_observations`, `dones`), d4rl and d3rlpy (`terminals`,
`timeouts`), Minari (`terminations`, `truncations`), Spinning Up (`obs_buf`, `obs2_buf`,
`done_buf`), the authors' TD3 (`state`, `next_state`, `not_done`), tutorials (`state_memory`,
`new_state_memory`, `s_prime`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.replay.buffer import Origin, ReplayBuffer
from sacdoctor.replay.filling import Filling, Numbers, filling

OBSERVATIONS, NEXT, ACTIONS, REWARDS = "observations", "next_observations", "actions", "rewards"
DONES, NOT_DONES, TIMEOUTS = "dones", "not dones", "timeouts"
NEEDED = (OBSERVATIONS, ACTIONS, REWARDS)
PARTED = (OBSERVATIONS, NEXT)
"""Fields that may be a dict of arrays."""

_SPELLINGS: Mapping[str, str] = {
    OBSERVATIONS: "observations observation obs ob states state s",
    NEXT: (
        "next_observations next_observation next_obs next_ob next_states next_state "
        "obs_next observation_next observations_next state_next states_next "
        "new_observations new_observation new_obs new_states new_state "
        "obs2 observations2 states2 state2 obs_2 state_2 obs_tp1 "
        "state_prime states_prime states_p state_p s_prime s2 s_ s_p sp s_next next_s"
    ),
    ACTIONS: "actions action acts act a",
    REWARDS: "rewards reward rews rew r",
    DONES: (
        "dones done terminals terminal terminated terminateds terminations termination "
        "is_terminals is_terminal dws dw d"
    ),
    NOT_DONES: "not_dones not_done nonterminals nonterminal non_terminals masks mask",
    TIMEOUTS: "timeouts timeout truncated truncateds truncations truncation",
}
"""Each field's names, the likeliest first."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OF_STORAGE = re.compile(
    r"^(buf|buffer|mem|memory|replay|all)_|_(buf|buffer|mem|memory|storage|list)$"
)
_PART = re.compile(r"[./]")
_CHUNK = 8 * 1024**2
"""Bytes of one array that are looked at in one go."""


def plain(name: str) -> str:
    """Return a name without what marks it as private, a buffer or the words of a compound."""
    name = _CAMEL.sub("_", name).lower().lstrip("_")
    return _OF_STORAGE.sub("", name)


def fields_among(names: Iterable[str]) -> dict[str, str]:
    """Return which of the names are which field; a field that none is called by is left out.

    Parts of a dict of observations, `observations/image` or `observations.image`, come as one
    entry each, `observations.image`.
    """
    known: dict[str, dict[str, str]] = {}
    for name in names:
        whole, *part = _PART.split(name, maxsplit=1)
        known.setdefault(plain(whole), {})[part[0] if part else ""] = name
    found: dict[str, str] = {}
    for field, spellings in _SPELLINGS.items():
        parts = next((known[spelling] for spelling in spellings.split() if spelling in known), {})
        if "" in parts:
            found[field] = parts[""]
        elif field in PARTED:
            found |= {f"{field}.{part}": name for part, name in parts.items()}
    return found


def lacking(found: Iterable[str]) -> list[str]:
    """Return which fields are missing that every buffer has."""
    there = {field.partition(".")[0] for field in found}
    return [field for field in NEEDED if field not in there]


def buffer_of(
    class_name: str,
    columns: Mapping[str, NDArray[Any]],
    names: Mapping[str, str],
    numbers: Numbers,
    origin: Origin,
    *,
    are_lists: bool = False,
) -> tuple[ReplayBuffer, Filling]:
    """Return the buffer that `columns` are, by field, and how far it is filled.

    `names` are those in the file, `numbers` the counters beside them. `are_lists`: the columns were
    gathered from lists, which have no room that is not filled.

    Raises `CorruptCheckpoint` where the columns do not belong to one another,
    `UnsupportedCheckpoint` where one holds something else than numbers, or nothing tells an
    observation's next one.
    """
    for field, column in columns.items():
        if column.dtype.kind not in "biuf":
            raise UnsupportedCheckpoint(
                f"its {names[field]!r} hold elements of type {column.dtype}, which are no numbers"
            )
    rows = _rows(columns, names)
    n_envs = _environments(columns, rows)
    arrays = {
        field: column[:rows].reshape(rows, n_envs, *_rest(column, n_envs))
        for field, column in columns.items()
    }
    for field in (REWARDS, DONES, NOT_DONES, TIMEOUTS):
        if field in arrays and arrays[field][0].size != n_envs:
            raise UnsupportedCheckpoint(
                f"its {names[field]!r} have shape {columns[field].shape}, not one number per "
                "transition"
            )
    if NOT_DONES in arrays:
        arrays.setdefault(DONES, origin.read(arrays[NOT_DONES]) == 0)
        arrays.pop(NOT_DONES, None)
    for field in (REWARDS, DONES, TIMEOUTS):
        if field in arrays:
            arrays[field] = arrays[field].reshape(rows, n_envs)
    shares = not any(field.partition(".")[0] == NEXT for field in arrays)
    if shares and DONES not in arrays and TIMEOUTS not in arrays:
        raise UnsupportedCheckpoint(
            "it holds neither the next observations nor where episodes end, so no observation's "
            f"next one is known; there are {quoted(names.values())}"
        )

    def is_empty_from(start: int) -> bool:
        return all(_is_zero(array, start, origin) for array in arrays.values())

    filled = filling(numbers, rows, None if are_lists else is_empty_from)
    if not filled.size:
        raise UnsupportedCheckpoint("it holds no transition yet")
    buffer = ReplayBuffer(
        class_name=class_name,
        capacity=rows,
        n_envs=n_envs,
        pos=filled.pos,
        full=filled.size == rows,
        optimize_memory_usage=shares,
        whole=range(filled.size - shares),
        arrays=arrays,
        origin=origin,
    )
    return buffer, filled


def quoted(names: Iterable[str]) -> str:
    """Return names for a sentence, the first dozen of them."""
    names = [*names]
    more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return ", ".join(repr(name[:40]) for name in names[:12]) + more


def _rows(columns: Mapping[str, NDArray[Any]], names: Mapping[str, str]) -> int:
    """Return how many rows all columns have; observations without next ones may have one more."""
    for field, column in columns.items():
        if not column.ndim or not column.size:
            raise CorruptCheckpoint(f"its {names[field]!r} are empty, of shape {column.shape}")
    rows = len(columns[REWARDS])
    has_next = any(field.partition(".")[0] == NEXT for field in columns)
    for field, column in columns.items():
        more = field.partition(".")[0] == OBSERVATIONS and not has_next
        if len(column) not in ((rows, rows + 1) if more else (rows,)):
            raise CorruptCheckpoint(
                f"its arrays do not belong together: {names[REWARDS]!r} have {rows:,} rows, "
                f"{names[field]!r} {len(column):,}"
            )
    return rows


def _environments(columns: Mapping[str, NDArray[Any]], rows: int) -> int:
    """Return how many environments a row has one transition of: the second axis of all columns."""
    seconds = {column.shape[1:2] for column in columns.values()}
    return next(iter(seconds))[0] if len(seconds) == 1 and () not in seconds else 1


def _rest(column: NDArray[Any], n_envs: int) -> tuple[int, ...]:
    """Return the shape of one transition's value in a column of shape `(rows, …)`."""
    has_axis = column.ndim > 1 and column.shape[1] == n_envs and (n_envs > 1 or column.ndim > 2)
    return column.shape[2:] if has_axis else column.shape[1:]


def _is_zero(array: NDArray[Any], start: int, origin: Origin) -> bool:
    """Return whether all rows from `start` on are zero, as in a fresh buffer."""
    step = max(1, _CHUNK // max(1, array[0].nbytes))
    for at in range(start, len(array), step):
        if (origin.read(array[at : at + step]) != 0).any():  # `any` alone warns of NaN
            return False
    return True
