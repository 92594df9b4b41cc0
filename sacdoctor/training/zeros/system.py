"""Everything that keeps biases alive in one call: what to hand to `model.learn`."""

from __future__ import annotations

from sacdoctor.training.gradients import GRADIENT_WARNING
from sacdoctor.training.zeros.callback import (
    THRESHOLDS,
    OnMissing,
    OnNonFinite,
    ZeroWeightsPreventionCallback,
)


def create_zero_prevention_system(
    check_frequency: int = 1000,
    auto_fix: bool = True,
    verbose: int = 1,
    *,
    warning: float = THRESHOLDS.warning,
    critical: float = THRESHOLDS.critical,
    stop: float = THRESHOLDS.stop,
    max_grad_norm: float | None = None,
    gradient_warning: float | None = GRADIENT_WARNING,
    on_missing_parameters: OnMissing = "warn",
    stop_training: bool = False,
    on_non_finite: OnNonFinite = "warn",
    seed: int = 0,
) -> ZeroWeightsPreventionCallback:
    """Return the callback to hand to `model.learn(callback=…)`.

    The parameters, and what it raises, are those of `ZeroWeightsPreventionCallback`.
    """
    return ZeroWeightsPreventionCallback(
        check_frequency,
        auto_fix,
        verbose,
        warning=warning,
        critical=critical,
        stop=stop,
        max_grad_norm=max_grad_norm,
        gradient_warning=gradient_warning,
        on_missing_parameters=on_missing_parameters,
        stop_training=stop_training,
        on_non_finite=on_non_finite,
        seed=seed,
    )
