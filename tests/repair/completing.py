"""Policies put right by the lines that SD202 gives, and what a live model says of its moments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from fixtures.faulty_training import optimizers
from sacdoctor import scan
from tests.repair import truth

Moments = dict[str, dict[str, dict[str, Any]]]
"""By optimizer and by the name of the parameter in the policy."""


def remedy(path: Path) -> list[str]:
    (finding,) = [f for f in scan(path).findings if f.rule == "SD202"]
    return finding.remedy.splitlines()


def corrected(broken: type, path: Path) -> type:
    """The policy with SD202's lines about `path` at the end of its constructor."""
    lines = remedy(path)
    code = "\n".join(lines[1 : lines.index(_AND_THEN)])

    class Corrected(broken):  # type: ignore[misc]
        def __init__(self, observations: Any, actions: Any, lr_schedule: Any, **options: Any):
            super().__init__(observations, actions, lr_schedule, **options)
            exec(textwrap.dedent(code), {"self": self, "lr_schedule": lr_schedule})

    return Corrected


_AND_THEN = "The checkpoint loads into that policy once its optimizer is completed:"


@contextmanager
def refused() -> Iterator[None]:
    """The load fails because of the number of entries.

    SB3 tries to explain the error as one of old DQN models, and looks for a `policy.optimizer`
    then, which SAC and its like do not have.
    """
    with pytest.raises((ValueError, KeyError)) as raised:
        yield
    error = raised.value if isinstance(raised.value, ValueError) else raised.value.__context__
    assert "doesn't match the size of optimizer's group" in str(error)


def load_into(policy: type, path: Path, model: BaseAlgorithm) -> BaseAlgorithm:
    """The checkpoint in a policy of this class, by the `load` of the model's own algorithm."""
    return type(model).load(
        path, env=model.get_env(), device="cpu", custom_objects={"policy_class": policy}
    )


def moments(model: BaseAlgorithm) -> Moments:
    """What each optimizer keeps, by identity of the parameters: a live model knows them."""
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}
    return {
        optimizer_name: {
            names[id(parameter)]: dict(optimizer.state[parameter])
            for group in optimizer.param_groups
            for parameter in group["params"]
            if optimizer.state.get(parameter)
        }
        for optimizer_name, optimizer in optimizers(model)
    }


def held(model: BaseAlgorithm) -> set[str]:
    """The names of all parameters that some optimizer of the policy has."""
    ids = {id(p) for _, o in optimizers(model) for g in o.param_groups for p in g["params"]}
    return {name for name, parameter in model.policy.named_parameters() if id(parameter) in ids}


def parameters(model: BaseAlgorithm) -> dict[str, th.Tensor]:
    """Copies of the policy's parameters, without those of target networks."""
    named = model.policy.named_parameters()
    return {n: p.detach().clone() for n, p in named if "_target." not in n}


def assert_same_moments(before: Moments, after: Moments) -> None:
    assert before.keys() == after.keys()
    for optimizer, kept in before.items():
        assert kept.keys() == after[optimizer].keys(), optimizer
        for name, values in kept.items():
            assert_same_values(values, after[optimizer][name], name)


def assert_same_values(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> None:
    assert before.keys() == after.keys(), name
    for key, value in before.items():
        if isinstance(value, th.Tensor):
            assert truth.same(value, after[key]), (name, key)
        else:
            assert (type(value), value) == (type(after[key]), after[key]), (name, key)
