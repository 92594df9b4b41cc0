"""A live SB3 model from a checkpoint, without running anything in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.checkpoint import Checkpoint
from sacdoctor.errors import SacdoctorError, Unloadable
from sacdoctor.network.classes import Classes
from sacdoctor.network.saved import saved_anew
from sacdoctor.network.settings import live_settings, policy_class

_OF_ENVIRONMENT = ("observation_space", "action_space", "n_envs")
"""Attributes that SB3 takes from the environment when it makes a new model."""


class LeftOut(UserWarning):
    """A setting of the file that could not be made, and what stands in its place."""


def load(
    path: str | Path,
    env: Any = None,
    *,
    device: torch.device | str = "cpu",
    trust: Iterable[str] = (),
) -> BaseAlgorithm:
    """Return the model in an SB3 checkpoint, as the class that saved it.

    It predicts what the model does that SB3's own `load` returns, and trains on from there; but
    nothing in the file is executed, and nothing is unpickled. Spaces, schedules, noise and the
    like are made anew from what was read; classes of SB3, sb3-contrib and PyTorch are found by
    their names. A setting that is code of somebody's own, such as a schedule, is left out with a
    warning (`LeftOut`). Files of SB3 0.6 to 2.9, with gym's spaces or gymnasium's.

    :param path: the checkpoint: a `.zip` that `model.save()` wrote
    :param env: an environment to go on with, as SB3's `load` takes it
    :param device: where the weights go
    :param trust: modules of your own, from which the file's policy, features extractor and other
        classes are imported, with all modules below them

    Raises `CheckpointError` where the file cannot be read, and `Unloadable` where there is no
    model without running what it holds.
    """
    with Checkpoint(path) as checkpoint:
        try:
            model, left_out = _model(checkpoint, env, device, Classes(trust))
        except SacdoctorError as error:
            raise error.at(path) from None
    for key, what in left_out.items():
        warnings.warn(f"{path}: {key}: {what}", LeftOut, stacklevel=2)
    return model


def _model(
    checkpoint: Checkpoint, env: Any, device: torch.device | str, classes: Classes
) -> tuple[BaseAlgorithm, dict[str, str]]:
    algorithm = _algorithm(checkpoint)
    policy = policy_class(checkpoint, classes)
    fresh = algorithm(policy, None, device=device, _init_setup_model=False)  # type: ignore[call-arg]
    known = {*vars(fresh), *_OF_ENVIRONMENT}
    settings = live_settings(checkpoint, classes, known, has_env=env is not None)
    settings.values["policy_class"] = policy
    file = saved_anew(checkpoint, settings.values)
    try:
        model = algorithm.load(file, env=env, device=device, custom_objects=settings.values)
    except (Exception, MemoryError) as error:
        what = " ".join(str(error).split())
        raise Unloadable(f"SB3 cannot make its model: {type(error).__name__}: {what}") from error
    if hasattr(model, "weights"):  # of ARS: the policy's, in one row
        model.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
    return model, settings.left_out


def _algorithm(checkpoint: Checkpoint) -> type[BaseAlgorithm]:
    name = checkpoint.algorithm
    if name is None:
        raise Unloadable("its settings do not tell which algorithm it is of")
    package = ALGORITHMS[name].package
    try:
        found: type[BaseAlgorithm] = getattr(import_module(package), name)
    except (ImportError, AttributeError):
        raise Unloadable(
            f"it is of {name}, which {package} has: pip install 'sacdoctor[train]'"
        ) from None
    return found
