"""The examples of docs/training.md run as they stand."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from ruamel.yaml import YAML
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from tests.conftest import ROOT, child_environment

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "training.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ZOO = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_the_three_ways_the_warm_up_and_the_loop() -> None:
    known = ("TrainingMonitor", "RecurrentPPO", "ForcedActionWarmup", "SAC")
    found = [next(name for name in known if name in script) for script in PYTHON]
    assert found == ["SAC", "RecurrentPPO", "ForcedActionWarmup", "TrainingMonitor"]
    assert len(ZOO) == 1


RUN_ALL = """
import json, sys, torch
torch.set_num_threads(1)
for number, script in enumerate(json.load(sys.stdin)):
    exec(compile(script, f"script {number}", "exec"), {"__name__": "__main__"})
"""


def test_the_scripts_run(tmp_path: Path) -> None:
    """One after the other in a process of its own, each with nothing of the ones before."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(PYTHON),
        cwd=tmp_path,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def from_zoo(entry: dict[str, dict[str, Any]]) -> BaseCallback:
    """As rl_zoo3.utils.get_callback_list does: the class by its dotted path, then its arguments."""
    (path, arguments), *_ = entry.items()
    module, _, name = path.rpartition(".")
    callback: BaseCallback = getattr(importlib.import_module(module), name)(**arguments)
    return callback


def test_the_zoo_entry_makes_a_callback_that_trains() -> None:
    settings = YAML(typ="safe", pure=True).load(ZOO[0])["Pendulum-v1"]
    callback = from_zoo(settings["callback"][0])
    model = SAC(settings["policy"], gym.make("Pendulum-v1"), learning_starts=50, device="cpu")
    model.learn(150, callback=callback)
    assert callback.check_frequency == 1000  # type: ignore[attr-defined]
    assert callback.history  # type: ignore[attr-defined]
