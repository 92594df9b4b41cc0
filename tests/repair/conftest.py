"""Checkpoints with dead biases: trained models of every algorithm, hurt to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from fixtures.faulty_training import train, zero
from fixtures.make import one_thread

ODD = slice(None, None, 2)
"""Every other element: half of a bias is dead, the half beside it is not."""

Hurt = Callable[..., Path]


class Patients:
    """Trained models, each trained once, and the files of their hurt copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[str, BaseAlgorithm] = {}

    def model(self, algorithm: str, key: str | None = None, **training: object) -> BaseAlgorithm:
        """A trained model; `key` tells apart models that are trained in different ways."""
        key = key or algorithm
        if key not in self._models:
            with one_thread():
                self._models[key] = train(algorithm, **training)
        return self._models[key]

    def healthy(self, algorithm: str, key: str | None = None, **training: object) -> Path:
        path = self._folder / f"{key or algorithm}.zip"
        if not path.exists():
            self.model(algorithm, key, **training).save(path)
        return path

    def hurt(
        self,
        algorithm: str,
        *patterns: str,
        index: object = ...,
        key: str | None = None,
        **training: object,
    ) -> Path:
        """The model saved with zeros at `index` of every parameter that fits a pattern."""
        model = self.model(algorithm, key, **training)
        name = "_".join([key or algorithm, *patterns, str(index)])
        path = self._folder / f"{''.join(c if c.isalnum() else '-' for c in name)}.zip"
        if not path.exists():
            kept = copy.deepcopy(model.policy.state_dict())
            for pattern in patterns:
                zero(pattern, index)(model)
            model.save(path)
            model.policy.load_state_dict(kept)
        return path


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Patients:
    return Patients(tmp_path_factory.mktemp("patients"))
