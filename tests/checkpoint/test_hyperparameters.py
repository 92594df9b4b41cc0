"""Settings in `data`: JSON values as they are, pickled ones named but never opened."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from sb3_contrib.tqc.policies import MultiInputPolicy as TQCMultiInput
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.save_util import data_to_json, json_to_data
from stable_baselines3.sac.policies import SACPolicy

from sacdoctor import Checkpoint, SacdoctorError, scan
from sacdoctor.checkpoint.hyperparameters import Pickled, read_hyperparameters
from sacdoctor.errors import CorruptCheckpoint
from tests.archives import write_sb3
from tests.conftest import child_environment


def settings(**values: Any) -> Any:
    """Settings as SB3 itself writes them."""
    return read_hyperparameters(memoryview(data_to_json(values).encode()))


class Outer:
    class Inner(SACPolicy):
        pass


@pytest.mark.parametrize("cls", [ActorCriticPolicy, SACPolicy, TQCMultiInput, Outer.Inner])
def test_class_is_named_by_its_module(cls: type) -> None:
    found = settings(policy_class=cls).class_name("policy_class")
    assert found == f"{cls.__module__}.{cls.__qualname__}"


def test_class_of_a_script_is_named_although_it_is_pickled_whole() -> None:
    """What `python train.py` defines is in `__main__`, and cloudpickle saves its whole code."""
    script = """
        import base64, sys, cloudpickle
        from stable_baselines3.sac.policies import SACPolicy
        class MyPolicy(SACPolicy):
            threshold = 0.5
            def forward(self, observations, deterministic=False):
                return super().forward(observations, deterministic)
        sys.stdout.write(base64.b64encode(cloudpickle.dumps(MyPolicy)).decode())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=True,
    )
    assert Pickled("type", done.stdout, {}).class_name() == "__main__.MyPolicy"


def test_class_made_within_a_function_is_named() -> None:
    def build() -> type:
        class Local(SACPolicy):
            pass

        return Local

    name = settings(policy_class=build()).class_name("policy_class")
    assert name is not None
    assert name.rpartition(".")[2] == "Local"


@pytest.mark.parametrize("protocol", range(6))
def test_class_is_named_in_every_protocol(protocol: int) -> None:
    encoded = base64.b64encode(cloudpickle.dumps(SACPolicy, protocol)).decode()
    name = Pickled("type", encoded, {}).class_name()
    assert name == "stable_baselines3.sac.policies.SACPolicy"


@pytest.mark.parametrize("encoded", ["", "***", "gAQ=", "gASVBQ", "gARLAS4=", "é"])
def test_class_that_cannot_be_read_has_no_name(encoded: str) -> None:
    assert Pickled("type", encoded, {}).class_name() is None


def test_values_are_those_of_json(tmp_path: Path) -> None:
    values = {"a": 1, "b": 2.5, "c": None, "d": [1, "x"], "e": {"f": True}, "g": "text"}
    found = settings(**values)
    assert {key: found[key] for key in found} == values


@pytest.mark.parametrize(
    ("value", "number", "integer"),
    [
        (3, 3.0, 3),
        (3.0, 3.0, 3),
        (0.5, 0.5, None),
        (-2, -2.0, -2),
        (True, None, None),
        ("3", None, None),
        (None, None, None),
        ([3], None, None),
        (float("nan"), None, None),
        (float("inf"), None, None),
        (10**400, None, None),
    ],
)
def test_numbers(value: Any, number: float | None, integer: int | None) -> None:
    found = read_hyperparameters(memoryview(json.dumps({"x": value}).encode()))
    assert found.number("x") == number
    assert found.integer("x") == integer
    assert found.number("y") is None


def test_pickled_value_keeps_its_readable_copy() -> None:
    value = settings(optimizer=SACPolicy)["optimizer"]
    assert isinstance(value, Pickled)
    assert value.pickle() == cloudpickle.dumps(SACPolicy)
    assert value.attributes["__module__"] == "stable_baselines3.sac.policies"


def test_schedule_is_no_number(tmp_path: Path) -> None:
    data = json.loads(data_to_json({"learning_rate": lambda progress: 1e-3}))
    assert scan(write_sb3(tmp_path / "m.zip", {}, data)).learning_rate is None


def test_version_and_counters_are_reported(tmp_path: Path) -> None:
    report = scan(write_sb3(tmp_path / "m.zip", {}, {"num_timesteps": 7, "_n_updates": 3}))
    assert (report.num_timesteps, report.n_updates, report.sb3_version) == (7, 3, "2.9.2")


def test_settings_are_read_only_when_asked_for(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {})
    broken = path.read_bytes().replace(b"{}", b"{]")
    path.write_bytes(broken)
    with Checkpoint(path) as checkpoint:
        assert dict(checkpoint.tensors) == {}
        with pytest.raises(SacdoctorError, match="data"):
            _ = checkpoint.hyperparameters


def test_a_key_that_stands_twice_is_refused() -> None:
    """JSON readers keep the last; a repair of that one could bring the first to life."""
    text = b'{"lr_schedule": 1, "n": {"a": 1}, "lr_schedule": null}'
    with pytest.raises(CorruptCheckpoint, match="the key 'lr_schedule' twice"):
        read_hyperparameters(memoryview(text))


def test_keys_below_may_stand_twice() -> None:
    """`json.dumps` writes both of a dict's keys 1 and "1" as "1"."""
    text = json.dumps({"n": {1: 2, "1": 3}})
    assert read_hyperparameters(memoryview(text.encode()))["n"] == json.loads(text)["n"]


def test_base64_is_decoded_as_sb3_does() -> None:
    pickled = cloudpickle.dumps(SACPolicy)
    text = base64.encodebytes(pickled).decode()
    assert "\n" in text
    value = json.dumps({"f": {":type:": "x", ":serialized:": text}})
    assert json_to_data(value)["f"] is SACPolicy
    assert Pickled("x", text, {}).pickle() == pickled
    with pytest.raises(CorruptCheckpoint, match="base64"):
        Pickled("x", "\ud800", {}).pickle()
