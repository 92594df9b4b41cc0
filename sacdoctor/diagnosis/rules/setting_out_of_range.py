"""A setting with which the algorithm does not learn, or learns something else.

## What it does
Holds the settings in the file against `sacdoctor/settings/ranges.py`: gamma, gae_lambda, tau,
ent_coef, vf_coef, clip_range, n_epochs, batch_size, n_steps with the number of environments, buffer
against batch, DQN's exploration, SAC's target entropy, the policy delay, the noise on actions and
targets, where in the run updates begin, and Adam's weight decay. A warning has a mechanism that
breaks at that size, which the evidence names; what is merely unusual is a notice, and nothing that
rl-zoo tuned is more than that. What a setting has done already, such as a critic that has stopped
because its loss counts for nothing, is not named beside it. A `tau` of 0 is `stale-target`'s, the
learning rate SD401's, the clipping of gradients SD402's.

## Why is this bad
Such a run ends without an error. With a gamma above 1 values grow without end; with an `ent_coef`
of 1 a policy is paid for staying random; with a `target_entropy` above that of the most random
policy the coefficient grows until it drowns the rewards.

## Example
`gamma=1.05`; `tau=0.12` in SAC, with which the target is the online network of 8 updates ago.

## Use instead
The value that the remedy names, and a new training: what was learned is bent by the setting.
`sacdoctor fix-config` corrects settings files.

## Fix safety
`fix` changes none of them: the weights would be no better.

## References
- Ranges and their sources: `sacdoctor/settings/ranges.py`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import stopped_networks
from sacdoctor.diagnosis.pickled_settings import constant, noise_deviation, optimizer_class
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom, within
from sacdoctor.model import Finding
from sacdoctor.settings import RANGED_WITH, Verdict, judge_ranged, spelled
from sacdoctor.severity import Severity

LARGE_DECAY = 0.05
"""Of Adam's coupled weight decay: for a weight of 0.1 its pull is 0.005, as large as the share of
one of 10,000 parameters in a gradient that is clipped to a norm of 0.5."""
_DECOUPLED = ("AdamW",)
_OF_VALUES = "critic"
"""The network that `vf_coef` trains."""
_IN_PYTHON = {"noise_std": "the sigma of action_noise"}


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding for each setting that is out of its range."""
    facts = examination.facts
    if facts.checkpoint.algorithm is None:
        return
    for verdict in judge_ranged(facts.checkpoint.algorithm, _values(facts)):
        if verdict.key == "tau" and verdict.value == 0:
            continue  # SD209 says so
        yield _finding(verdict, _concerned(facts, verdict))
    yield from _late_start(facts)
    yield from _weight_decay(facts)


def _values(facts: Facts) -> dict[str, float]:
    """Return the settings that are judged, and what they are held against."""
    checkpoint = facts.checkpoint
    settings = checkpoint.hyperparameters
    values = {key: settings.number(key) for key in RANGED_WITH if key in settings}
    if "clip_range" in settings:
        values["clip_range"] = constant(checkpoint, "clip_range")
    if settings.get("action_noise") is not None:
        values["noise_std"] = noise_deviation(checkpoint)
    outputs = facts.tensors.get("actor.mu.bias")
    if outputs is not None:
        values["actions"] = float(outputs.numel)
    return {key: value for key, value in values.items() if value is not None}


def _concerned(facts: Facts, verdict: Verdict) -> tuple[str, ...]:
    """Return the tensors that show what a setting has done, where the file shows it already.

    A loss of the value function that counts for nothing leaves the critic without gradients; a
    target that no entropy reaches drives the coefficient, a bonus for entropy the deviation.
    """
    match verdict.key:
        case "vf_coef":
            return tuple(stopped_networks(facts).get(_OF_VALUES, ()))
        case "target_entropy":
            return ("log_ent_coef",)
        case "ent_coef" if "log_std" in facts.tensors:
            return ("log_std",)
    return ()


def _finding(verdict: Verdict, tensors: tuple[str, ...]) -> Finding:
    name = _IN_PYTHON.get(verdict.key, verdict.key)
    value = spelled(verdict.value or 0.0)
    advised = spelled(verdict.recommended or 0.0)
    remedy = f"Set {name} to {advised} and train anew; `sacdoctor fix-config` corrects settings."
    if not verdict.must_change:
        remedy = f"Leave it if training goes well. If not, set {name} to {advised}."
    return RULE.finding(
        verdict.severity,
        f"{name} {value} is out of its range",
        evidence=f"{name} {value}: {verdict.message}",
        remedy=remedy,
        tensors=tensors,
    )


def _late_start(facts: Facts) -> Iterator[Finding]:
    """Yield a finding where half of a run or more is over before the first update."""
    settings = facts.checkpoint.hyperparameters
    starts, total = settings.number("learning_starts"), settings.number("_total_timesteps")
    if not starts or not total or settings.number("_num_timesteps_at_start"):
        return
    if not facts.n_updates or not 0.5 * total <= starts < total:
        return
    # rl-zoo's TD3 and DDPG start in the middle of their 20,000 steps on Pendulum.
    is_more = starts > 0.5 * total
    yield RULE.finding(
        Severity.WARNING if is_more else Severity.NOTICE,
        f"updates begin after {starts:,.0f} of {total:,.0f} steps",
        evidence=f"learning_starts {starts:,.0f}: {100 * starts / total:.0f} % of the run's steps "
        "are random actions, from which nothing was learned at the time",
        remedy="Set learning_starts to a tenth of the run or less, or train for longer.",
    )


def _weight_decay(facts: Facts) -> Iterator[Finding]:
    """Yield a finding where Adam's weight decay is stronger than most gradients.

    AdamW's is not added to the gradient: it shrinks weights by rate x decay per update.
    """
    decays = {
        decay: name
        for name, state in facts.policy_optimizers.items()
        for group in state.groups
        if isinstance(decay := group.options.get("weight_decay"), float)
        and "betas" in group.options
        and not group.options.get("decoupled_weight_decay")
    }
    largest = max(decays, default=0.0)
    if largest < LARGE_DECAY or optimizer_class(facts.checkpoint) in _DECOUPLED:
        return
    yield RULE.finding(
        Severity.WARNING,
        f"a weight decay of {largest:g} is stronger than most gradients",
        evidence=(
            f"{decays[largest]}: Adam adds {largest:g} times each weight to its gradient and "
            "divides by the size of the sum, so that weights shrink by the learning rate per "
            "update wherever the gradient is smaller"
        ),
        remedy="Leave weight_decay at 0, or use torch.optim.AdamW, and train anew.",
    )


def _is_paid_for_entropy(examination: Examination, setting: Finding, other: Finding) -> bool:
    return within(examination, setting, other) and _bonus(examination) > 0


def _pays_for_entropy(examination: Examination, setting: Finding, other: Finding) -> bool:
    return within(examination, setting, other) and _bonus(examination) < 0


def _bonus(examination: Examination) -> float:
    return examination.facts.checkpoint.hyperparameters.number("ent_coef") or 0.0


RULE = Rule(
    code="SD405",
    name="setting-out-of-range",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
    cured_by=("fix-config",),
    explains=(
        Symptom("stopped-network"),
        Symptom("zero-gradient"),
        Symptom("dead-bias"),
        Symptom("partly-dead-bias"),
        Symptom("entropy-explosion"),
        Symptom("exploration-explosion", _is_paid_for_entropy),
        Symptom("exploration-collapse", _pays_for_entropy),
    ),
)
