"""Hooks on optimizers of any name, and what they log."""

from __future__ import annotations

import io

import torch as th
from stable_baselines3.common.logger import HumanOutputFormat, Logger

from sacdoctor.training.gradients import GradientHooks


def test_names_of_any_length_have_keys_that_sb3s_table_can_show() -> None:
    """It cuts keys at 36 characters, and raises where two of them become the same."""
    place = "policy.features_extractor.market_context"
    names = ("actor.optimizer", f"{place}.short_term.optimizer", f"{place}.long_term.optimizer")
    optimizers = {name: th.optim.SGD([th.nn.Parameter(th.ones(2))], lr=0.1) for name in names}
    hooks = GradientHooks(max_grad_norm=None, warning=None)
    hooks.attach(optimizers)
    for norm, optimizer in enumerate(optimizers.values(), 1):
        (parameter,) = optimizer.param_groups[0]["params"]
        parameter.grad = th.tensor([float(norm), 0.0])
        optimizer.step()
    written = io.StringIO()
    logger = Logger(None, [HumanOutputFormat(written)])
    hooks.log(logger)
    logged = dict(logger.name_to_value)
    logger.dump()
    assert [*logged.values()] == [1.0, 2.0, 3.0]
    assert "sacdoctor/gradient_norm/actor" in logged
    assert all(len(key) <= 39 for key in logged)
    assert "actor" in written.getvalue()
