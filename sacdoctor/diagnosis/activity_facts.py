"""Everything about a live network at work on observations that rules look at.

Named tuples: every scan imports them, and as dataclasses they would take it 0.4 ms each.
"""

from __future__ import annotations

from typing import NamedTuple

DORMANT = 0.025
"""τ: a unit whose mean |output| is at most so much of its layer's mean (Sokar et al. 2023)."""
NEAR = 0.99
"""How far towards its limit an output is at it: there Tanh's slope is 2 % of its largest."""
NEARLY_ALL = 0.99
"""The share of observations that a unit, or an action, has to be at its limit on."""
LEFT_OUT = 0.01
"""δ: what the singular values behind the effective rank add up to (Kumar et al. 2021)."""


class LayerActivity(NamedTuple):
    """What the units of one layer do.

    `name` is that of the last module with parameters, `activation` the class of what follows it,
    None where nothing does that is a module of PyTorch's. Of a convolution a unit is a channel, at
    all places of the image. `dead` units are exactly 0 on every observation. `saturated` are at
    their limits on nearly all of them, and `at_limit` is the share of all outputs that are; None
    where the activation has no limits. `stuck` units have a gradient of exactly 0 there, in
    float32, on all of them. `dormant` units are small beside their layer's. `rank` is the effective
    rank of the outputs, None where it was not worked out.
    """

    name: str
    activation: str | None
    units: int
    dead: int
    saturated: int | None
    at_limit: float | None
    stuck: int
    dormant: int
    rank: int | None


class ActionActivity(NamedTuple):
    """What an actor does, or the network whose values choose the action.

    Of numbers a choice of numbers (`Box`): `spread` is the standard deviation of the deterministic
    action over the observations, and `lower` and `upper` the share of observations on which it is
    at that bound, of each number of the action, in halves of its range; where a bound is infinite
    `spread` is in the action's own unit and the others are 0. `deviation` is the mean standard
    deviation that exploration adds before anything is cut or squashed, None without. `flat` is the
    share of numbers that a Tanh squashes where its gradient is exactly 0 in float32.

    Of choices: `commonest` is the share of observations with the commonest deterministic choice,
    and `likeliest` the mean probability of the likeliest one, None where there are none. `random`
    is the share of steps at which exploration draws another, None where it does not do so.

    `sensitivity` is how far each number of the observation moves the outputs when it changes by its
    standard deviation: the mean norm of the gradient; empty for images.
    """

    spread: tuple[float, ...] = ()
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()
    deviation: float | None = None
    flat: float | None = None
    commonest: float | None = None
    likeliest: float | None = None
    random: float | None = None
    sensitivity: tuple[float, ...] = ()


class ValueActivity(NamedTuple):
    """What a critic or a value network says.

    `low`, `high`, `mean` and `size` (the mean without sign) are of its values, twins averaged.
    `action_effect` is how far the action moves them, as a share of their standard deviation: the
    mean over observations of the gradient times half of the action's range, or of the difference
    of the best and the worst choice. `disagreement` is the mean difference of the twins as a share
    of that deviation.

    Where rewards and next observations are known: `residual` is the mean |value − target| as a
    share of the mean |target|, `correlation` that of both, and `error` the root mean square
    of the difference as a share of the target's standard deviation. `reward_correlation` is that
    of the rewards with value − discounted next value; `reward_share` is the standard deviation of
    the rewards as a share of that difference's. Where all rewards are the same, as CartPole's, both
    are taken about 0 in place of the mean. `action_correlation` is that of what the action
    adds to the value with what it adds to the target. `largest` is the largest discounted sum
    that rewards, and the entropy that SAC adds to them, can come to, and `equals_target` says that
    the target network gives exactly the same values.
    """

    low: float
    high: float
    mean: float
    size: float
    action_effect: float | None = None
    disagreement: float | None = None
    residual: float | None = None
    correlation: float | None = None
    error: float | None = None
    reward_correlation: float | None = None
    reward_share: float | None = None
    action_correlation: float | None = None
    largest: float | None = None
    equals_target: bool | None = None


class NetworkActivity(NamedTuple):
    """One network: its layers in the order in which they work, and what comes out.

    `is_policy`: it is trained to choose actions, and no target. `is_target`: it follows another.
    """

    name: str
    layers: tuple[LayerActivity, ...]
    actions: ActionActivity | None = None
    values: ValueActivity | None = None
    is_policy: bool = False
    is_target: bool = False


class Activity(NamedTuple):
    """The networks of an agent at work on `observations` observations.

    `updates` are those that it made. `replays`: it learns from a replay buffer. `follows_slowly`:
    its target networks never are to be equal to what they follow. `knows_rewards`: rewards are of
    the size in which its critic saw them. `knows_largest`: they are all that it saw.
    """

    algorithm: str | None
    observations: int
    updates: int
    replays: bool
    follows_slowly: bool
    knows_rewards: bool
    knows_largest: bool
    networks: tuple[NetworkActivity, ...]

    @classmethod
    def in_words(cls) -> str:
        return "a live network at work on observations"
