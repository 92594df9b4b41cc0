"""Checkpoints made by hand: settings and optimizer states in the form that SB3 and torch write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch as th

from sacdoctor import Finding, LayerReport, Report, ScanOptions, scan
from tests.archives import write_sb3

PPO = {"clip_range": 0.2, "num_timesteps": 10_000, "_n_updates": 100, "learning_rate": 3e-4}
SAC = {"target_entropy": -1.0, "num_timesteps": 10_000, "_n_updates": 9_900, "learning_rate": 1e-4}
DQN = {"exploration_fraction": 0.1, "num_timesteps": 10_000, "_n_updates": 100}
TRPO = {"cg_max_steps": 15, "num_timesteps": 10_000, "_n_updates": 100}
ARS = {"n_delta": 8, "num_timesteps": 10_000, "_n_updates": 100}

Moments = Sequence[th.Tensor | None]


def adam(
    second: Moments,
    *,
    step: float = 100,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.9, 0.999),
) -> dict[str, Any]:
    """Adam's state with these second moments, entry by entry; None: an entry without any."""
    kept = {
        number: {"step": th.tensor(float(step)), "exp_avg": th.zeros_like(v), "exp_avg_sq": v}
        for number, v in enumerate(second)
        if v is not None
    }
    return _state(kept, len(second), lr=lr, betas=betas, eps=1e-8, weight_decay=0.0, amsgrad=False)


def rmsprop(
    second: Moments, *, step: int = 100, lr: float = 7e-4, alpha: float = 0.99
) -> dict[str, Any]:
    """The same for RMSprop; SB3's `RMSpropTFLike` starts its `square_avg` at one."""
    kept = {n: {"step": step, "square_avg": v} for n, v in enumerate(second) if v is not None}
    return _state(kept, len(second), lr=lr, alpha=alpha, eps=1e-5, centered=False, momentum=0)


def sgd(buffers: Moments, *, lr: float = 1e-3) -> dict[str, Any]:
    """The same for SGD's momentum."""
    kept = {n: {"momentum_buffer": v} for n, v in enumerate(buffers) if v is not None}
    return _state(kept, len(buffers), lr=lr, momentum=0.9, dampening=0, nesterov=False)


def _state(kept: Mapping[int, Any], entries: int, **options: Any) -> dict[str, Any]:
    return {"state": dict(kept), "param_groups": [{**options, "params": [*range(entries)]}]}


def report(
    folder: Path,
    policy: Mapping[str, th.Tensor],
    settings: Mapping[str, Any] | None = None,
    optimizers: Mapping[str, Any] | None = None,
    options: ScanOptions | None = None,
) -> Report:
    """What the scan says of such a checkpoint; PPO's settings where none are given."""
    settings = PPO if settings is None else settings
    return scan(write_sb3(folder / "m.zip", dict(policy), settings, optimizers), options)


def finding(report: Report, code: str) -> Finding | None:
    """The report's finding of this rule; fails where there is more than one."""
    found = [finding for finding in report.findings if finding.rule == code]
    assert len(found) <= 1
    return found[0] if found else None


def layer(report: Report, name: str) -> LayerReport:
    (found,) = [layer for layer in report.layers if layer.name == name]
    return found
