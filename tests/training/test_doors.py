"""What importing the package costs, and the names under which 0.1.0 had its classes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sacdoctor.training
from tests.conftest import child_environment


def loaded(statement: str) -> set[str]:
    """Return which of the large packages an import has loaded, in an interpreter of its own."""
    large = "{'torch', 'stable_baselines3', 'sb3_contrib', 'gymnasium'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*{large} & sys.modules.keys())"],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_package_itself_needs_nothing() -> None:
    assert loaded("import sacdoctor.training") == set()


@pytest.mark.parametrize("name", ["WarmupGate", "executed_action"])
def test_what_a_loop_of_ones_own_needs_of_the_warm_up_needs_nothing(name: str) -> None:
    assert loaded(f"from sacdoctor.training import {name}") == set()


def test_the_wrapper_needs_gymnasium_alone() -> None:
    assert loaded("from sacdoctor.training import ForcedActionWarmup") == {"gymnasium"}


@pytest.mark.parametrize("name", sacdoctor.training.__all__)
def test_every_public_name_comes_through_its_packages_door(name: str) -> None:
    found = getattr(sacdoctor.training, name)
    door = sys.modules[f"sacdoctor.training.{sacdoctor.training._HOMES[name]}"]
    assert getattr(door, name) is found and name in door.__all__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    for module in (sacdoctor.training, sacdoctor.training.warmup):
        with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
            _ = module.Nothing
