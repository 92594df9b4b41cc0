"""What a step's info says of the action that was carried out: read and written without gymnasium.

An environment that carries out another action than it was given says so in its info, under
`executed_action`, in the units of its action space; `forced` is true where it did so by rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

EXECUTED_ACTION = "executed_action"
"""The key of a step's info that holds the action which was carried out."""
FORCED = "forced"
"""The key of a step's info that says whether that action was forced on the agent."""

Info = Mapping[str, Any]


def executed_action(info: Info | Sequence[Info], action: npt.ArrayLike) -> Any:
    """Return the action that was carried out: what `info` reports, else the agent's own `action`.

    `info` is that of one environment; the dict of arrays of gymnasium's vector environments, of any
    autoreset mode; or a list of infos, as SB3's vector environments return it. For several
    environments `action` has one row each. What is returned has the shape and type of `action`: an
    array, a tensor, a list or a number. `action` itself is not changed.

    Raises `ValueError` where an executed action has another number of elements.
    """
    own = np.asarray(action)
    result = own
    for env, executed in _reported(info, EXECUTED_ACTION):
        place = () if env is None else (env,)
        given = np.asarray(executed)
        if given.size != own[place].size:
            raise ValueError(
                f"an executed action of shape {given.shape} is reported, that of the agent has "
                f"the shape {own[place].shape}"
            )
        if result is own:
            result = own.copy()
        result[place] = given.reshape(own[place].shape)
    if result is own or isinstance(action, np.ndarray):
        return action if result is own else result
    if hasattr(action, "new_tensor"):  # torch's, which numbers need not import
        return action.new_tensor(result)
    return result.tolist()


def was_forced(info: Info | Sequence[Info]) -> bool:
    """Return whether the action of this step was forced, of one environment at least."""
    return any(bool(forced) for _, forced in _reported(info, FORCED))


def _reported(info: Info | Sequence[Info], key: str) -> Iterator[tuple[int | None, Any]]:
    """Yield what infos hold under `key`, by environment; None is the only one there is.

    Gymnasium's vector environments mark in `_key` which rows were reported. Where an environment
    is reset in the step that ends its episode, that step's own info is in `final_info`: one dict of
    arrays since gymnasium 1.0, an array with a dict or None each before.
    """
    if not isinstance(info, Mapping):
        for env, own in enumerate(info):
            if own is not None and key in own:
                yield env, own[key]
        return
    if f"_{key}" in info:
        for env in np.flatnonzero(info[f"_{key}"]).tolist():
            yield env, info[key][env]
    elif key in info:
        yield None, info[key]
    if "_final_info" in info:
        yield from _reported(info["final_info"], key)
