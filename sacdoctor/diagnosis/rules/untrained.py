"""A model that was saved before its first update.

## What it does
Reports models of every algorithm that nothing was trained in: no optimizer holds moments, the
counters (`_n_updates`, `num_timesteps` against `learning_starts`) agree, and no weight is further
out than its initialiser puts it. Where biases are zero because of that, it names them. It
says what the first update waits for; a checkpoint from the first steps of a run that goes on is a
notice. Where the run ends before `learning_starts`, `never-starts`
says so; a policy that was trained elsewhere, by imitation, and then saved is not reported.

## Why is this bad
It is not, unless you thought the model was trained. SB3 starts the biases of on-policy policies at
zero. The severity never exceeds warning.

## Example
A `CheckpointCallback` that fires before `learning_starts`, or before PPO has collected
`n_steps` x `n_envs` steps; `model.save()` before `learn()`.

## Use instead
Scan a checkpoint from after the first updates.

## Fix safety
Re-drawing harms nothing and is not needed: the first update does as much.

## References
- SB3: `ActorCriticPolicy.init_weights` fills biases with 0
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.initialisation import was_trained
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import cause_finding
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity

_REMEDY = "Scan a checkpoint from after the first updates."
_TOO_LATE = "learning_starts lies beyond the run's end"


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all biases that are zero because nothing was trained, or over all."""
    facts = examination.facts
    of_biases = list(
        cause_finding(
            RULE,
            examination,
            Cause.UNTRAINED,
            "zero because the model was never trained",
            _REMEDY,
        )
    )
    waits = _waits_for(facts)
    if of_biases:
        (finding,) = of_biases
        yield replace(finding, remedy=f"{waits[0].upper()}{waits[1:]}. {_REMEDY}")
    elif waits != _TOO_LATE and _is_as_it_began(facts):
        yield RULE.finding(
            Severity.NOTICE if _goes_on(facts) else Severity.WARNING,
            "the model was never trained",
            evidence=f"0 updates, and no weight is other than its initialiser draws it; {waits}",
            remedy=_REMEDY,
        )


def _is_as_it_began(facts: Facts) -> bool:
    """Return whether nothing in the file says that any weight was ever trained."""
    row = facts.algorithm
    if row is None or facts.n_updates != 0 or not facts.counters_say_untrained:
        return False
    if any(state.moments for state in facts.optimizers.values()):
        return False
    weights = [name for name in facts.parameters if facts.anatomy.roles[name].role == "weight"]
    if not row.has_gradients:  # ARS begins at 0
        return bool(weights) and not any(facts.measures[n].norm for n in weights)
    if not facts.policy_optimizers or not weights or facts.biases_start_at_zero:
        return False  # where biases start at 0, those that are not have been trained
    return not any(was_trained(facts.tensors[name]) for name in weights)


def _goes_on(facts: Facts) -> bool:
    """Return whether the model was saved on the way, in a run that comes to updates later."""
    settings = facts.checkpoint.hyperparameters
    steps, total = settings.integer("num_timesteps"), settings.integer("_total_timesteps")
    return bool(steps) and total is not None and (steps or 0) < total


def _waits_for(facts: Facts) -> str:
    """Return what the first update waits for, as far as the settings tell."""
    settings = facts.checkpoint.hyperparameters
    steps, starts = settings.integer("num_timesteps"), settings.integer("learning_starts")
    if not steps:
        return "saved before `learn` took a step"
    if starts is not None and steps <= starts:
        if starts >= max(settings.integer("_total_timesteps") or starts + 1, steps):
            return _TOO_LATE
        return f"at {steps:,} steps, and updates begin after learning_starts {starts:,}"
    n_steps, n_envs = settings.integer("n_steps"), settings.integer("n_envs") or 1
    if n_steps is not None and steps <= n_steps * n_envs:
        return (
            f"at {steps:,} steps, and the first update comes when n_steps x n_envs = "
            f"{n_steps * n_envs:,} are collected"
        )
    if settings.number("gradient_steps") == 0:
        return "gradient_steps is 0"
    return f"at {steps:,} steps"


RULE = Rule(
    code="SD201",
    name="untrained",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    about_zeros=True,
    takes_initial_zeros=True,
)
