"""Settings as a training script that runs as it stands.

The one place that knows how gradients are clipped where the constructor does not: by the callback
of `sacdoctor.training`.
"""

from __future__ import annotations

from sacdoctor.settings.algorithms import CLIPS_GRADIENTS, HAS_LEARNING_STARTS
from sacdoctor.settings.numbers import write_number
from sacdoctor.settings.ranges import LEARNING_RATES
from sacdoctor.settings.recommended import Settings

SB3 = frozenset({"A2C", "DDPG", "DQN", "PPO", "SAC", "TD3"})
"""The algorithms of stable_baselines3 itself; the others are in sb3_contrib."""
POLICIES = {"RecurrentPPO": "MlpLstmPolicy", "ARS": "LinearPolicy"}
"""The policies of those that have no `MlpPolicy`, or a better one."""
_CONTINUOUS = frozenset({"SAC", "TD3", "DDPG", "TQC", "CrossQ"})


def python_snippet(settings: Settings) -> str:
    """Return a script that trains with `settings` on an environment of Gymnasium."""
    name = settings.algorithm
    by_callback = name not in (*CLIPS_GRADIENTS, "ARS") and settings.max_grad_norm is not None
    parts = [
        f'"""Train {name} with settings from `sacdoctor fix-config`."""\n',
        _imports(name, by_callback=by_callback),
        f"{_environment(name)}\n{_model(settings)}",
        _learn(settings, by_callback=by_callback),
    ]
    return "\n".join(parts)


def _imports(name: str, *, by_callback: bool) -> str:
    package = "stable_baselines3" if name in SB3 else "sb3_contrib"
    lines = ["import gymnasium as gym"]
    lines += ["import numpy as np"] if name == "MaskablePPO" else []
    if by_callback:
        lines.append("from sacdoctor.training import create_zero_prevention_system")
    lines.append(f"from {package} import {name}")
    if name == "MaskablePPO":
        lines.append("from sb3_contrib.common.wrappers import ActionMasker")
    return "\n".join(lines) + "\n"


def _environment(name: str) -> str:
    env = "Pendulum-v1" if name in _CONTINUOUS else "CartPole-v1"
    line = f'env = gym.make("{env}")  # your environment'
    if name == "MaskablePPO":
        line += "\n# Your masks: here, every action is allowed."
        line += "\nenv = ActionMasker(env, lambda env: np.ones(env.action_space.n, dtype=bool))"
    return line


def _model(settings: Settings) -> str:
    name = settings.algorithm
    rate = settings.learning_rate or LEARNING_RATES[name].recommended
    number = write_number(rate, "1e-4")
    lines = [f'    "{POLICIES.get(name, "MlpPolicy")}",', "    env,"]
    if settings.linear:
        lines.append(f"    learning_rate=lambda progress_remaining: {number} * progress_remaining,")
    else:
        lines.append(f"    learning_rate={number},")
    if name in CLIPS_GRADIENTS and settings.max_grad_norm is not None:
        lines.append(f"    max_grad_norm={settings.max_grad_norm},")
    if name in HAS_LEARNING_STARTS and settings.learning_starts is not None:
        line = f"    learning_starts={settings.learning_starts:_},"
        if settings.no_trading_warmup_steps:
            line += f"  # no_trading_warmup_steps = {settings.no_trading_warmup_steps:_}, or more"
        lines.append(line)
    return "\n".join([f"model = {name}(", *lines, ")\n"])


def _learn(settings: Settings, *, by_callback: bool) -> str:
    saved = 'model.save("model")\n'
    if not by_callback:
        return f"model.learn(total_timesteps=5_500)  # a short trial\n{saved}"
    return (
        f"# {settings.algorithm}(...) takes no max_grad_norm: the callback clips.\n"
        f"guard = create_zero_prevention_system(max_grad_norm={settings.max_grad_norm})\n"
        f"model.learn(total_timesteps=5_500, callback=guard)  # a short trial\n{saved}"
    )
