"""What watching costs: training with and without the callback at default settings, alternating.

Both runs of a pair have the same seed and end with the same weights, bit for bit, so they did the
same work. Each repetition trains both, the order changing from one to the next; the figure is the
median of the ratios of their processor times (of this process alone, as other work on the machine
moves the clock on the wall), with the spread of the ratios. Beside it stands what the callback
itself took, measured around its own calls: steadier than a difference of two runs, and a little too
much, as the calls that any callback gets are counted in.

    python benchmarks/overhead.py [--repetitions 7] [--gradients-off] [--max-grad-norm 1.0]

With clipping the weights differ, and only the times are compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch as th
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from sacdoctor.training import ZeroWeightsPreventionCallback, create_zero_prevention_system
from sacdoctor.training.gradients.hooks import _Hook

ENVIRONMENT = "Pendulum-v1"
RUNS: dict[str, tuple[type[BaseAlgorithm], int, int]] = {
    "SAC 256 x 256": (SAC, 800, 256),
    "SAC 64 x 64": (SAC, 800, 64),
    "PPO 64 x 64": (PPO, 4_096, 64),
}
LIMITS = {256: (1.0, 2.0), 64: (1.5, 3.0)}
"""Percent, by the width of the layers: without clipping and with it."""


EVENTS = (
    "on_training_start",
    "on_rollout_start",
    "on_step",
    "on_rollout_end",
    "on_training_end",
)


class Clock:
    """Adds up the time spent within the calls that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def train(name: str, seed: int, callback: ZeroWeightsPreventionCallback | None) -> Any:
    """Return the processor seconds of one run, and its final weights."""
    algorithm, steps, width = RUNS[name]
    nets = {"net_arch": [width, width]}
    model = algorithm("MlpPolicy", ENVIRONMENT, seed=seed, device="cpu", policy_kwargs=nets)
    start = time.process_time()
    model.learn(steps, callback=callback)
    return time.process_time() - start, model.policy.state_dict()


def share_within(name: str, options: dict[str, Any]) -> float:
    """Return the percentage of a run's time that passes inside the callback and its hooks."""
    clock, hook = Clock(), _Hook.__call__
    start = time.perf_counter()
    callback = create_zero_prevention_system(verbose=0, **options)
    for event in EVENTS:
        setattr(callback, event, clock.wrap(getattr(callback, event)))
    _Hook.__call__ = clock.wrap(hook)  # type: ignore[method-assign]
    # A plain function is bound like the method it stands for.
    try:
        train(name, 0, callback)
        seconds = time.perf_counter() - start
    finally:
        _Hook.__call__ = hook  # type: ignore[method-assign]
    return 100.0 * clock.seconds / (seconds - clock.seconds)


def compare(name: str, repetitions: int, options: dict[str, Any]) -> list[float]:
    """Return the overhead in percent of each repetition, negative where chance outweighs it."""
    train(name, 0, create_zero_prevention_system(verbose=0, **options))  # warm up
    overheads = []
    for repetition in range(repetitions):
        times, weights = {}, {}
        order = (False, True) if repetition % 2 == 0 else (True, False)
        for watched in order:
            callback = create_zero_prevention_system(verbose=0, **options) if watched else None
            times[watched], weights[watched] = train(name, repetition, callback)
        same = "max_grad_norm" in options or all(
            th.equal(weights[True][key], weights[False][key]) for key in weights[False]
        )
        assert same, "the callback changed the training"
        overheads.append(100.0 * (times[True] / times[False] - 1.0))
    return overheads


def main() -> None:
    """Print one line per algorithm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--gradients-off", action="store_true", help="check the biases alone")
    parser.add_argument("--max-grad-norm", type=float, help="clip to this norm")
    arguments = parser.parse_args()
    options: dict[str, Any] = {"gradient_warning": None} if arguments.gradients_off else {}
    clips = arguments.max_grad_norm is not None
    if clips:
        options["max_grad_norm"] = arguments.max_grad_norm
    th.set_num_threads(1)
    for name in RUNS:
        overheads = compare(name, arguments.repetitions, options)
        within = median(share_within(name, options) for _ in range(5))
        limit = LIMITS[RUNS[name][2]][clips]
        verdict = "below" if within < limit else "NOT below"
        print(
            f"{name}: with/without {1 + median(overheads) / 100:.4f} "
            f"({median(overheads):+.2f} %, {min(overheads):+.2f} to {max(overheads):+.2f} % over "
            f"{len(overheads)} pairs); inside the callback {within:.2f} %, {verdict} {limit:g} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
