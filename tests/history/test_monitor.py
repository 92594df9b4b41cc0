"""SB3's Monitor logs: the timesteps at the end of every episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from sacdoctor.history.monitor import read_monitors
from tests.agents import VECTOR, TinyEnv


class _Episodes(BaseCallback):
    """What SB3 itself saw: timesteps and return at the end of every episode."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.seen.append((self.num_timesteps, info["episode"]["r"]))
        return True


class _Uneven(TinyEnv):
    """Episodes of 3 to 12 steps."""

    def step(self, action):  # type: ignore[no-untyped-def]
        observation, reward, _, _, info = super().step(action)
        ends = (self._steps >= 3 and self.np_random.random() < 0.3) or self._steps >= 12
        return observation, reward, bool(ends), False, info


def test_timesteps_of_several_environments_are_sb3s(tmp_path: Path) -> None:
    env = make_vec_env(
        lambda: _Uneven(VECTOR, discrete=False), n_envs=3, seed=0, monitor_dir=str(tmp_path)
    )
    callback = _Episodes()
    PPO("MlpPolicy", env, n_steps=20, batch_size=20, device="cpu").learn(240, callback=callback)
    env.close()
    ((log,), errors) = read_monitors(tmp_path)
    assert (errors, log.skipped, log.path) == ([], 0, tmp_path)
    assert log.timesteps.tolist() == [step for step, _ in callback.seen]
    assert np.allclose(log.returns, [value for _, value in callback.seen])


def test_other_names_are_logs_of_their_own(tmp_path: Path) -> None:
    for name in ("monitor.csv", "eval.monitor.csv"):
        (tmp_path / name).write_text('#{"t_start": 0}\nr,l,t\n1.0,10,0.1\n2.0,5,0.2\n')
    logs, errors = read_monitors(tmp_path)
    assert errors == []
    assert [log.path.name for log in logs] == ["eval.monitor.csv", "monitor.csv"]
    assert [log.timesteps.tolist() for log in logs] == [[10, 15], [10, 15]]


def test_logs_numbered_by_seed_are_trainings_of_their_own(tmp_path: Path) -> None:
    for seed in (0, 1):
        env = Monitor(_Uneven(VECTOR, discrete=False), str(tmp_path / str(seed)))
        PPO("MlpPolicy", env, n_steps=20, batch_size=20, device="cpu", seed=seed).learn(40)
        env.close()
    logs, errors = read_monitors(tmp_path)
    assert errors == []
    assert [log.path.name for log in logs] == ["0.monitor.csv", "1.monitor.csv"]
    assert all(log.timesteps[-1] <= 40 for log in logs)


@pytest.mark.parametrize("first", ["1.0,10,0.1\n", ""], ids=["an episode", "none yet"])
def test_logs_left_by_an_earlier_run_of_more_environments_are_its_own(
    tmp_path: Path, first: str
) -> None:
    """Four environments, then two: those of 0 and 1 were written anew, 2 and 3 were left."""
    for number, made in enumerate((1000.0, 1000.2, 900.0, 900.2)):
        header = f'#{{"t_start": {made}, "env_id": "None"}}\nr,l,t\n'
        rows = first if number == 1 else "1.0,10,0.5\n"
        (tmp_path / f"{number}.monitor.csv").write_text(header + rows)
    logs, _ = read_monitors(tmp_path)
    assert [log.path.name for log in logs] == ["0.monitor.csv", "2.monitor.csv"]
    assert [len(log.returns) for log in logs] == [1 + bool(first), 2]


def test_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    header = '#{"t_start": 0}\nr,l,t\n'
    (tmp_path / "monitor.csv").write_text(f"{header}1.0,10,0.1\n{header}2.0,5,0.2\n")
    ((log,), _) = read_monitors(tmp_path)
    assert (log.timesteps.tolist(), log.skipped) == ([10, 15], 0)


def test_other_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "monitor.csv").write_text("a,b\n1,2\n")
    logs, (error,) = read_monitors(tmp_path)
    assert logs == []
    assert str(error) == f"{tmp_path / 'monitor.csv'}: {error.reason}"
    assert "no columns r and l" in error.reason


def test_rows_that_are_no_episodes_are_counted(tmp_path: Path) -> None:
    rows = ["1.0,10,0.1", "nan,10,0.1", "1.0,0,0.1", "1.0,10", "x,10,0.1", '"1.0,10,0.1', "2,5,1"]
    (tmp_path / "monitor.csv").write_text("\n".join(["r,l,t", *rows]))
    ((log,), _) = read_monitors(tmp_path)
    assert (log.returns.tolist(), log.skipped) == ([1.0, 2.0], 4)
    assert (log.numbers.tolist(), log.non_finite.tolist()) == ([0, 2], [1])
