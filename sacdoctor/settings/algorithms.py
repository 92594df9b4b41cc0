"""Which algorithms there are, what people call them, and which settings their constructors take."""

from __future__ import annotations

import re
from itertools import pairwise

ALGORITHMS = (
    "SAC",
    "TD3",
    "DDPG",
    "TQC",
    "CrossQ",
    "DQN",
    "QRDQN",
    "PPO",
    "MaskablePPO",
    "RecurrentPPO",
    "A2C",
    "TRPO",
    "ARS",
)
"""The classes of SB3 and sb3-contrib 2.x, by their class names."""

CLIPS_GRADIENTS = frozenset({"DQN", "QRDQN", "PPO", "MaskablePPO", "RecurrentPPO", "A2C"})
"""The constructors with a `max_grad_norm`; every other one rejects it (SB3 2.9)."""

HAS_LEARNING_STARTS = frozenset({"SAC", "TD3", "DDPG", "TQC", "CrossQ", "DQN", "QRDQN"})
"""The constructors with a `learning_starts`: those that learn from a replay buffer."""

_ALIASES = {
    # rl-zoo's names where they are not the class names (rl_zoo3/utils.py, ALGOS).
    "ppolstm": "RecurrentPPO",
    "recurrentppo": "RecurrentPPO",
    "ppomask": "MaskablePPO",
    "maskableppo": "MaskablePPO",
    **{name.lower(): name for name in ALGORITHMS},
}


def algorithm_named(text: str) -> str | None:
    """Return the class name that `text` stands for, None where it stands for none.

    `sac`, `SAC`, `ppo_lstm` and `sb3_contrib.RecurrentPPO` are all understood.
    """
    return _ALIASES.get(re.sub(r"[-_ ]", "", text.rpartition(".")[2].strip()).lower())


def algorithm_in(file_stem: str) -> str | None:
    """Return the algorithm that a file is named after, as in rl-zoo's `sac.yml`.

    None where it is named after none, or after several.
    """
    whole = algorithm_named(file_stem)
    if whole is not None:
        return whole
    parts = re.split(r"[-_. ]+", file_stem)
    pairs = ["_".join(pair) for pair in pairwise(parts)]
    named = {name for part in pairs if (name := algorithm_named(part)) is not None}
    # `my_ppo_lstm` is named after `ppo_lstm`; that it holds `ppo` too says nothing.
    named = named or {name for part in parts if (name := algorithm_named(part)) is not None}
    return named.pop() if len(named) == 1 else None
