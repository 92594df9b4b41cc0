"""Which part of an agent an optimizer looks after, as its name says beside the parts' names.

`actor_optimizer`, `optimizer_actor` and `optimizers.actor` are the actor's, `critic_optimizer` is
that of `critic1` and `critic2`, `optim` beside `model` that of all there is. A name proves nothing
by itself: whether the entries fit is asked where they are given to tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from sacdoctor.layers import words
from sacdoctor.pickles import Path

_OPTIMIZER = frozenset(
    ["optim", "optims", "opt", "opts", "optimizer", "optimizers", "optimiser", "adam", "sgd"]
)
_SAYS_NOTHING = frozenset(
    [
        "state",
        "states",
        "dict",
        "dicts",
        "sd",
        "model",
        "models",
        "module",
        "net",
        "nets",
        "network",
        "networks",
        "weights",
        "params",
        "parameters",
        "agent",
        "log",
    ]
)
"""Words around the name of a part; `log` is that of `log_alpha`."""
_CALLED = {
    **dict.fromkeys(("actors", "pi", "policy"), "actor"),
    **dict.fromkeys(("critics", "q", "qf", "qs", "qnet", "v", "vf", "value"), "critic"),
    **dict.fromkeys(("temperature", "temp", "ent", "entropy", "coef"), "alpha"),
}
"""Other words for the same, by the literature's word."""

Words = tuple[str, ...]


def part_words(path: Path) -> Words:
    """Return the words of a path that say which part it leads to."""
    spoken = chain.from_iterable(words(str(key)) for key in path)
    return tuple(word for word in spoken if word not in _SAYS_NOTHING)


def looked_after(optimizer: Path, parts: Mapping[str, Words]) -> tuple[str, ...]:
    """Return the parts that an optimizer's path names, in their order; none where it names none.

    `parts` has the words of each. Those that are called exactly so come first, then all whose
    words begin so (an optimizer without a name of its own has all), then the same once more with
    other words for the same: `q_optimizer` and `critic1`.
    """
    said = tuple(word for word in part_words(optimizer) if word not in _OPTIMIZER)
    for called in (lambda spoken: tuple(spoken), _in_other_words):
        name = called(said)
        known = {part: called(spoken) for part, spoken in parts.items()}
        exactly = tuple(part for part, spoken in known.items() if spoken == name)
        found = exactly or tuple(p for p, spoken in known.items() if spoken[: len(name)] == name)
        if found:
            return found
    return ()


def _in_other_words(spoken: Iterable[str]) -> Words:
    """Return the literature's words, each once: `ent_coef` is alpha."""
    return tuple(dict.fromkeys(_CALLED.get(word, word) for word in spoken))
