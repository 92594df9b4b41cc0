"""Settings as a training script that runs as it stands.

The one place that knows how gradients are clipped where the constructor does not: by the callback
of `sacdoctor.training`.
"""

from __future__ import annotations

from sacdoctor.algorithms import ALGORITHMS, Algorithm
from sacdoctor.settings.kept import Kept
from sacdoctor.settings.numbers import write_number
from sacdoctor.settings.recommended import Settings


def python_snippet(settings: Settings) -> str:
    """Return a script that trains with `settings` on an environment of Gymnasium."""
    row = ALGORITHMS[settings.algorithm]
    by_callback = settings.max_grad_norm is not None and row.has_gradients and not row.clips
    parts = [
        f'"""Train {row.name} with settings from `sacdoctor fix-config`."""\n',
        _imports(row, settings.kept, by_callback=by_callback),
        f"{_environment(row, settings.kept)}\n{_model(row, settings)}",
        _learn(settings, by_callback=by_callback),
    ]
    return "\n".join(parts)


def _imports(row: Algorithm, kept: Kept, *, by_callback: bool) -> str:
    lines = ["import gymnasium as gym"] if _is_single(row, kept) else []
    lines += ["import numpy as np"] if row.needs_masks else []
    if by_callback:
        lines.append("from sacdoctor.training import create_zero_prevention_system")
    lines.append(f"from {row.package} import {row.name}")
    if row.needs_masks:
        lines.append("from sb3_contrib.common.wrappers import ActionMasker")
    if not _is_single(row, kept):
        lines.append("from stable_baselines3.common.env_util import make_vec_env")
    lines += sorted(kept.imports)
    return "\n".join(lines) + "\n"


def _is_single(row: Algorithm, kept: Kept) -> bool:
    return kept.n_envs == 1 or row.needs_masks


def _environment(row: Algorithm, kept: Kept) -> str:
    env = kept.environment or ("Pendulum-v1" if row.continuous_only else "CartPole-v1")
    made = f'gym.make("{env}")'
    if not _is_single(row, kept):
        made = f'make_vec_env("{env}", n_envs={kept.n_envs})'
    line = f"env = {made}" + ("" if kept.environment else "  # your environment")
    if row.needs_masks:
        line += "\n# Your masks: here, every action is allowed."
        line += "\nenv = ActionMasker(env, lambda env: np.ones(env.action_space.n, dtype=bool))"
    return line


def _model(row: Algorithm, settings: Settings) -> str:
    rate = settings.learning_rate or row.learning_rates.recommended
    number = write_number(rate, "1e-4")
    kept = settings.kept
    policy = kept.policy or f'"{row.policy}"'
    lines = [f"    {policy},", "    env,"]
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
    rest = {**kept.arguments, **{key: repr(value) for key, value in settings.others.items()}}
    lines += [f"    {key}={value}," for key, value in rest.items()]
    head = [f"model = {row.name}("]
    if kept.left_out:
        head.insert(0, f"# Not here, as it takes more than a value: {', '.join(kept.left_out)}.")
    return "\n".join([*head, *lines, ")\n"])


def _learn(settings: Settings, *, by_callback: bool) -> str:
    saved = 'model.save("model")\n'
    steps, note = (settings.kept.steps, "") if settings.kept.steps else (5_500, "  # a short trial")
    if not by_callback:
        return f"model.learn(total_timesteps={steps:_}){note}\n{saved}"
    return (
        f"# {settings.algorithm}(...) takes no max_grad_norm: the callback clips.\n"
        f"guard = create_zero_prevention_system(max_grad_norm={settings.max_grad_norm})\n"
        f"model.learn(total_timesteps={steps:_}, callback=guard){note}\n{saved}"
    )
