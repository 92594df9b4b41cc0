"""A setting with which the algorithm does not learn, or learns something else.

## What it does
Holds the settings in the file against `sacdoctor/settings/ranges.py`: gamma, gae_lambda, tau,
ent_coef, vf_coef, clip_range, n_epochs, batch_size, n_steps with the number of environments, buffer
against batch, DQN's exploration and the copies of its target, SAC's target entropy, the policy
delay, the noise on actions and targets, where in the run updates begin, the updates for each
transition, a Sigmoid between the layers, and Adam's weight decay. A warning has a mechanism that
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
from math import sqrt

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import stopped_networks
from sacdoctor.diagnosis.pace import sigmoid_layers, target_copies, updates_per_transition
from sacdoctor.diagnosis.pickled_settings import constant, noise_deviation, optimizer_class
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom, within
from sacdoctor.model import Finding
from sacdoctor.settings import (
    FARTHEST_SEEN,
    LEARNING_STARTS,
    MANY_UPDATES,
    MOST_UPDATES,
    RANGED_WITH,
    REPLAY,
    WEAKEST_SIGNAL,
    Verdict,
    judge_ranged,
    spelled,
)
from sacdoctor.severity import Severity

LARGE_DECAY = 0.05
"""Of Adam's coupled weight decay: for a weight of 0.1 its pull is 0.005, as large as the share of
one of 10,000 parameters in a gradient that is clipped to a norm of 0.5."""
_DECOUPLED = ("AdamW",)
_OF_VALUES = "critic"
"""The network that `vf_coef` trains."""
_IN_PYTHON = {"noise_std": "the sigma of action_noise"}
_OF_GATHERING = ("exploration_", "updates begin", "the sigma")
"""How findings begin about settings that move no weight: neither values nor a policy run away by
them."""


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
    yield from _few_copies(facts)
    yield from _many_updates(facts)
    yield from _sigmoid(facts)
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
    # rl-zoo's TD3 and DDPG start in the middle of their 20,000 steps on Pendulum, all others within
    # a tenth of the run; SB3's own 100 steps are half of a run that is but a trial.
    may_be_half = starts <= LEARNING_STARTS or facts.checkpoint.algorithm in ("TD3", "DDPG")
    is_more = starts > 0.5 * total or not may_be_half
    yield RULE.finding(
        Severity.WARNING if is_more else Severity.NOTICE,
        f"updates begin after {starts:,.0f} of {total:,.0f} steps",
        evidence=f"learning_starts {starts:,.0f}: {100 * starts / total:.0f} % of the run's steps "
        "are random actions, from which nothing was learned at the time",
        remedy="Set learning_starts to a tenth of the run or less, or train for longer.",
    )


def _few_copies(facts: Facts) -> Iterator[Finding]:
    """Yield a finding where DQN's target is copied so seldom that Q cannot look far ahead.

    Before the first copy Q learns the next reward and values that are random; with each further
    one, one reward more.
    """
    copies, gamma = target_copies(facts), facts.checkpoint.hyperparameters.number("gamma")
    if not copies or gamma is None:  # none at all is SD406's
        return
    wanted = min(FARTHEST_SEEN, 1 / (1 - gamma) if gamma < 1 else FARTHEST_SEEN)
    if 1 + copies >= wanted:
        return
    interval = facts.checkpoint.hyperparameters.integer("target_update_interval") or 0
    yield RULE.finding(
        Severity.WARNING,
        f"the target is copied {'once' if copies == 1 else f'{copies} times'} in the whole run",
        evidence=f"target_update_interval {interval:,}: Q adds up {1 + copies} rewards at most, "
        f"and gamma {gamma:g} asks for some {1 / max(1 - gamma, 1e-4):,.0f}",
        remedy="Set target_update_interval to a hundredth of the run or less (rl-zoo: 10 to "
        "1,000), or train for longer.",
    )


def _many_updates(facts: Facts) -> Iterator[Finding]:
    """Yield a finding where so many updates follow each transition that a critic learns the few
    that it has by heart."""
    ratio = updates_per_transition(facts)
    if facts.checkpoint.algorithm not in REPLAY or ratio is None or ratio <= MANY_UPDATES:
        return
    yield RULE.finding(
        Severity.WARNING if ratio >= MOST_UPDATES else Severity.NOTICE,
        f"{ratio:.3g} updates follow each transition",
        evidence=f"gradient_steps {facts.checkpoint.hyperparameters.integer('gradient_steps'):,}: "
        "the critic fits the first transitions before others come, and does not recover "
        "(arXiv:2205.07802; of SAC with 20, arXiv:2101.05982)",
        remedy="Set gradient_steps to 1, or -1 with several environments; for more, give the "
        "critic LayerNorm, or reset it from time to time.",
    )


def _sigmoid(facts: Facts) -> Iterator[Finding]:
    """Yield a finding where layers have a Sigmoid behind them, whose slope is 1/4 at most.

    SB3's orthogonal weights multiply a signal by 1.41, PyTorch's own by 0.58.
    """
    layers = sigmoid_layers(facts)
    if not layers:
        return
    signal = ((sqrt(2) if facts.biases_start_at_zero else sqrt(1 / 3)) / 4) ** layers
    yield RULE.finding(
        Severity.WARNING if signal < WEAKEST_SIGNAL else Severity.NOTICE,
        "a Sigmoid between the layers weakens gradients and inputs",
        evidence=f"activation_fn Sigmoid, {layers} in a row: its slope is at most 1/4, so that at "
        f"the start at most {100 * signal:.2g} % of a gradient comes to the first layer, and of a "
        "change of the inputs to the last",
        remedy="Leave activation_fn at SB3's (Tanh or ReLU) and train anew.",
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


def _moves_networks(setting: Finding) -> bool:
    """Return whether the setting is about what is learned, not what is gathered to learn from."""
    return not setting.message.startswith(_OF_GATHERING)


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
        Symptom("destructive-update", is_of=_moves_networks),
        Symptom("value-out-of-bounds", is_of=_moves_networks),
    ),
)
