"""Settings as a training script that runs as it stands.

The one place that knows how gradients are clipped where the constructor does not: by the callback
of `sacdoctor.training`.
"""

from __future__ import annotations

from sacdoctor.algorithms import ALGORITHMS, Algorithm
from sacdoctor.settings.numbers import write_number
from sacdoctor.settings.recommended import Settings


def python_snippet(settings: Settings) -> str:
    """Return a script that trains with `settings` on an environment of Gymnasium."""
    row = ALGORITHMS[settings.algorithm]
    by_callback = settings.max_grad_norm is not None and row.has_gradients and not row.clips
    parts = [
        f'"""Train {row.name} with settings from `sacdoctor fix-config`."""\n',
        _imports(row, by_callback=by_callback),
        f"{_environment(row)}\n{_model(row, settings)}",
        _learn(settings, by_callback=by_callback),
    ]
    return "\n".join(parts)


def _imports(row: Algorithm, *, by_callback: bool) -> str:
    lines = ["import gymnasium as gym"]
    lines += ["import numpy as np"] if row.needs_masks else []
    if by_callback:
        lines.append("from sacdoctor.training import create_zero_prevention_system")
    lines.append(f"from {row.package} import {row.name}")
    if row.needs_masks:
        lines.append("from sb3_contrib.common.wrappers import ActionMasker")
    return "\n".join(lines) + "\n"


def _environment(row: Algorithm) -> str:
    env = "Pendulum-v1" if row.continuous_only else "CartPole-v1"
    line = f'env = gym.make("{env}")  # your environment'
    if row.needs_masks:
        line += "\n# Your masks: here, every action is allowed."
        line += "\nenv = ActionMasker(env, lambda env: np.ones(env.action_space.n, dtype=bool))"
    return line


def _model(row: Algorithm, settings: Settings) -> str:
    rate = settings.learning_rate or row.learning_rates.recommended
    number = write_number(rate, "1e-4")
    lines = [f'    "{row.policy}",', "    env,"]
    if settings.linear:
        lines.append(f"    learning_rate=lambda progress_remaining: {number} * progress_remaining,")
    else:
        lines.append(f"    learning_rate={number},")
    if row.clips and settings.max_grad_norm is not None:
        lines.append(f"    max_grad_norm={settings.max_grad_norm},")
    if row.replays and settings.learning_starts is not None:
        line = f"    learning_starts={settings.learning_starts:_},"
        if settings.no_trading_warmup_steps:
            line += f"  # no_trading_warmup_steps = {settings.no_trading_warmup_steps:_}, or more"
        lines.append(line)
    lines += [f"    {key}={value!r}," for key, value in settings.others.items()]
    return "\n".join([f"model = {row.name}(", *lines, ")\n"])


def _learn(settings: Settings, *, by_callback: bool) -> str:
    saved = 'model.save("model")\n'
    if not by_callback:
        return f"model.learn(total_timesteps=5_500)  # a short trial\n{saved}"
    return (
        f"# {settings.algorithm}(...) takes no max_grad_norm: the callback clips.\n"
        f"guard = create_zero_prevention_system(max_grad_norm={settings.max_grad_norm})\n"
        f"model.learn(total_timesteps=5_500, callback=guard)  # a short trial\n{saved}"
    )
