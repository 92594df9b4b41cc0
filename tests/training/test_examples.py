"""The examples run as they stand, and show what they say."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from examples import cleanrl_ppo, own_sac
from sacdoctor.severity import Severity
from tests.conftest import ROOT, child_environment
from tests.training.injured import warnings

pytestmark = pytest.mark.slow


def run(script: str, *arguments: object, without: tuple[str, ...] = ()) -> str:
    """Run an example in a process of its own, as if some packages were not installed."""
    missing = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    code = f"import runpy, sys; {missing}runpy.run_path(sys.argv[0], run_name='__main__')"
    path = str(ROOT / "examples" / script)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.argv[:1] = []; {code}",
            path,
            *map(str, arguments),
        ],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


SB3 = ("stable_baselines3", "sb3_contrib")

# -- an own SAC behind a warm-up ---------------------------------------------------------------


def test_the_own_agent_trains_without_sb3_and_gymnasium() -> None:
    out = run("own_sac.py", "--warmup", 300, "--steps", 200, without=(*SB3, "gymnasium"))
    assert "return of an episode: " in out


def test_it_compares_the_ways_through_the_warm_up() -> None:
    out = run("own_sac.py", "--compare", "--warmup", 100, "--steps", 64, "--seeds", 1)
    assert all(name in out for name in own_sac.WAYS)
    assert out.count("\n") == 2 + len(own_sac.WAYS)


def test_the_market_does_nothing_while_it_forces_and_the_agent_stores_that() -> None:
    agent, monitor = own_sac.train(300, 100, seed=0)
    _, actions, rewards, after = agent._buffer
    assert np.all(actions[:300] == 0.0) and np.all(rewards[:300] == 0.0)
    assert np.all(after[:300, 2] == 0.0) and np.all(actions[300:400] != 0.0)
    assert not monitor.history[0].updated
    assert monitor.gradients["actor"].steps + monitor.gradients["actor"].skipped == 100


def test_without_the_gate_the_temperature_is_gone_when_trading_begins() -> None:
    """A learning rate of 5e-3, 1,500 forced steps: with the gate it has hardly been touched."""
    gated, _ = own_sac.train(1_500, 10, seed=0)
    early, _ = own_sac.train(1_500, 10, seed=0, gated=False, executed=False)
    assert gated.log_alpha.exp() > 0.9
    assert early.log_alpha.exp() < 0.02


def test_a_bias_zeroed_in_the_own_agent_is_named_and_repaired(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    update = own_sac.Agent.update
    seen: list[own_sac.Agent] = []

    def hurt(agent: own_sac.Agent) -> None:
        update(agent)
        seen.append(agent)
        if len(seen) == 900:  # the update after step 1,000: before the check
            with th.no_grad():
                agent.actor[2].bias.zero_()

    monkeypatch.setattr(own_sac.Agent, "update", hurt)
    agent, monitor = own_sac.train(100, 950, seed=0)
    assert len(warnings(caplog)) == 1
    assert "reset-after-training (actor.2.bias)" in warnings(caplog)[0]
    assert bool((agent.actor[2].bias != 0).all())
    assert monitor.history[-1].severity is Severity.OK


# -- PPO as in CleanRL -------------------------------------------------------------------------


def test_ppo_learns_and_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = cleanrl_ppo.Args(total_timesteps=12_000, tensorboard=str(tmp_path))
    with caplog.at_level(logging.INFO, logger="sacdoctor"):
        monitor = cleanrl_ppo.train(args)
    assert warnings(caplog) == [] and monitor.findings == []
    assert np.mean(monitor.returns[-20:]) > 2 * np.mean(monitor.returns[:20])
    assert list(tmp_path.iterdir())


def test_ppo_is_not_changed_by_its_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    agents: list[th.nn.Module] = []
    made = cleanrl_ppo.Agent.__init__

    def remember(agent: Any, envs: Any) -> None:
        made(agent, envs)
        agents.append(agent)

    monkeypatch.setattr(cleanrl_ppo.Agent, "__init__", remember)
    cleanrl_ppo.train(cleanrl_ppo.Args(total_timesteps=1_500))
    monkeypatch.setattr(cleanrl_ppo, "TrainingMonitor", Nobody)
    cleanrl_ppo.train(cleanrl_ppo.Args(total_timesteps=1_500))
    with_it, without = (agent.state_dict() for agent in agents)
    assert all(th.equal(value, without[name]) for name, value in with_it.items())


class Nobody:
    """Stands for a monitor and does nothing."""

    def __init__(self, *arguments: object) -> None:
        self.returns: list[float] = []

    def __enter__(self) -> Nobody:
        return self

    def __exit__(self, *arguments: object) -> None:
        return None

    def step(self, num_timesteps: int) -> bool:
        return True

    def episode(self, value: float) -> None:
        return None


def test_ppo_runs_as_a_script_without_sb3() -> None:
    out = run("cleanrl_ppo.py", "--total-timesteps", 2_000, without=SB3)
    assert out.startswith("sacdoctor: ") and "mean return of the last" in out
