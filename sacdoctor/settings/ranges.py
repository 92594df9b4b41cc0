"""Safe ranges and recommended values of settings: every number that encodes judgement, once.

What differs from algorithm to algorithm stands in `sacdoctor/algorithms.py`. A range says where
training usually goes well, not where it goes wrong: tuned settings lie outside of it now and then,
and a run inside of it can still go bad for another reason.
"""

from __future__ import annotations

from typing import NamedTuple

from sacdoctor.severity import Severity

RATE_STEP = 1.5
"""A learning rate that changes by this factor from one update, row of a log or checkpoint to the
next has made a step; linear and cosine schedules change by far less."""

MAX_GRAD_NORM = 1.0
"""The recommended largest norm of a gradient."""
MAX_GRAD_NORM_RANGE = (0.5, 5.0)
"""0.5 is SB3's default for PPO and A2C, 5 the largest in rl-zoo's ppo.yml. What an SB3 constructor
does by itself is no fault, whatever it is."""
TIGHTEST_TUNED_NORM = 0.3
"""The smallest in rl-zoo's ppo.yml and ppo_lstm.yml, for InvertedPendulum."""

CLIP_GRAD_VALUE = None
"""Clipping each element by itself turns the gradient's direction; its norm is clipped instead."""

WARMUP_STEPS = 5_000
"""The recommended `no_trading_warmup_steps`, during which the environment forces a neutral
action."""
LONGEST_WARMUP = 10_000
"""From here on a warm-up is too long: the buffer is filled with actions that nobody chose."""
LEARNING_STARTS = 100
"""SB3's default for every algorithm that has it: far below a warm-up."""


class Bound(NamedTuple):
    """One end of a setting's range, for some algorithms: what lies beyond it, and what that does.

    A warning has a mechanism that breaks there; a notice is merely unusual. `below` and `above` are
    the last values in order; `below` 0.0 alone allows 0. Of several ends that a value lies beyond,
    the first counts.
    """

    key: str
    algorithms: tuple[str, ...]
    severity: Severity
    effect: str
    source: str
    below: float | None = None
    above: float | None = None

    def excludes(self, value: float) -> bool:
        """Return whether the value lies beyond this end."""
        if self.below is not None:
            return value < self.below
        return self.above is not None and value > self.above


_CRITICAL, _WARNING, _NOTICE = Severity.CRITICAL, Severity.WARNING, Severity.NOTICE
ENTROPY = ("SAC", "TQC", "CrossQ")
"""Algorithms whose `ent_coef` is part of the rewards."""
SOFT_TARGETS = ("SAC", "TQC", "TD3", "DDPG")
"""Algorithms whose targets follow at each update."""
EPSILON = ("DQN", "QRDQN")
REPLAY = (*SOFT_TARGETS, "CrossQ", *EPSILON)
_PPO = ("PPO", "MaskablePPO", "RecurrentPPO")
GRADIENT = (*_PPO, "A2C")
"""On-policy algorithms with one loss for policy, value and entropy."""
ON_POLICY = (*GRADIENT, "TRPO")
_ALL = (*REPLAY, *ON_POLICY)

_GAMMA = "rl-zoo: 0.9 to 0.9999; highway-env's own examples: 0.8"
_LAMBDA = "arXiv:1506.02438, section 3; rl-zoo: 0.8 to 1"
_TAU = "arXiv:1801.01290, figure 3c: 1e-4 to 0.1; rl-zoo: 0.005 to 0.05"
_EPSILON = "rl-zoo's dqn.yml and qrdqn.yml: 0.01 to 0.18"
_ENTROPY = "arXiv:1801.01290, figure 3b, at a reward scale of 1; rl-zoo: 0.005 to 0.1, or learned"
_BONUS = "SB3's default 0; rl-zoo's ppo.yml and a2c.yml: up to 0.01"
_BATCH = "rl-zoo: 32 to 2,048"
_CLIP = "arXiv:1707.06347, equation 7; rl-zoo's ppo.yml: 0.1 to 0.4"
_NOISE = "arXiv:1802.09477: 0.1; rl-zoo: up to 0.5"
_DELAY = "SB3's default 2; rl-zoo's crossq.yml: up to 3"

BOUNDS = (
    Bound("gamma", _ALL, _CRITICAL, "values are sums that grow without end", _GAMMA, above=1.0),
    Bound("gamma", _ALL, _CRITICAL, "the sign of a reward alternates", _GAMMA, below=0.0),
    Bound("gamma", REPLAY, _NOTICE, "nothing damps an error of Q", _GAMMA, above=0.9999),
    Bound("gamma", _ALL, _NOTICE, "only the next reward counts", _GAMMA, below=1e-9),
    Bound(
        "gamma",
        _ALL,
        _WARNING,
        "of a reward 10 steps away less than a ninth counts, of one 20 steps away a hundredth",
        _GAMMA,
        below=0.8,
    ),
    Bound("gae_lambda", ON_POLICY, _CRITICAL, "advantages grow without end", _LAMBDA, above=1.0),
    Bound("gae_lambda", ON_POLICY, _CRITICAL, "the sign of errors alternates", _LAMBDA, below=0.0),
    Bound(
        "gae_lambda",
        ON_POLICY,
        _NOTICE,
        "advantages hang on the value function alone",
        _LAMBDA,
        below=0.5,
    ),
    Bound("tau", REPLAY, _CRITICAL, "the target overshoots the online network", _TAU, above=1.0),
    Bound("tau", REPLAY, _CRITICAL, "the target moves away from its network", _TAU, below=0.0),
    Bound("tau", SOFT_TARGETS, _WARNING, "the target hardly moves", _TAU, below=1e-4),
    Bound("tau", SOFT_TARGETS, _NOTICE, "the target lags 1,000 updates and more", _TAU, below=1e-3),
    Bound(
        "exploration_final_eps",
        EPSILON,
        _WARNING,
        "more than half of all actions stay random",
        _EPSILON,
        above=0.5,
    ),
    Bound(
        "exploration_final_eps", EPSILON, _NOTICE, "many actions stay random", _EPSILON, above=0.2
    ),
    Bound(
        "exploration_initial_eps",
        EPSILON,
        _NOTICE,
        "Q-values that nothing has trained yet choose most actions",
        "SB3's default 1, which rl-zoo keeps",
        below=0.5,
    ),
    Bound(
        "exploration_fraction",
        ("DQN",),  # sb3-contrib's QR-DQN has 0.005
        _NOTICE,
        "random actions are nearly over as soon as they begin",
        "SB3's default 0.1; rl-zoo: 0.1 to 0.2",
        below=0.01,
    ),
    Bound(
        "ent_coef", ENTROPY, _CRITICAL, "the agent is paid for not exploring", _ENTROPY, below=0.0
    ),
    Bound("ent_coef", ENTROPY, _WARNING, "nothing keeps the actions varied", _ENTROPY, below=1e-8),
    Bound(
        "ent_coef",
        ENTROPY,
        _WARNING,
        "entropy counts as much as rewards of this size, and the policy stays near random",
        _ENTROPY,
        above=0.99,
    ),
    Bound("ent_coef", ENTROPY, _NOTICE, "entropy counts for much", _ENTROPY, above=0.2),
    Bound("ent_coef", GRADIENT, _WARNING, "the agent is paid for not exploring", _BONUS, below=0.0),
    Bound(
        "ent_coef",
        GRADIENT,
        _WARNING,
        "the bonus for entropy is as large as the advantages, whose size is 1",
        _BONUS,
        above=0.49,
    ),
    Bound("ent_coef", GRADIENT, _NOTICE, "the bonus for entropy is large", _BONUS, above=0.1),
    Bound("vf_coef", GRADIENT, _CRITICAL, "values are driven away from the returns", "", below=0.0),
    Bound(
        "vf_coef",
        GRADIENT,
        _WARNING,
        "the value function is not trained, and advantages are noise",
        "SB3's default 0.5; rl-zoo's ppo.yml and a2c.yml: 0.19 to 0.95",
        below=1e-6,
    ),
    Bound(
        "batch_size",
        (*REPLAY, *_PPO),
        _WARNING,
        "an update follows the noise of a few transitions",
        _BATCH,
        below=4,
    ),
    Bound("batch_size", (*REPLAY, *_PPO), _NOTICE, "gradients are noisy", _BATCH, below=16),
    Bound("clip_range", _PPO, _CRITICAL, "the policy may not change", _CLIP, below=1e-9),
    Bound(
        "clip_range",
        _PPO,
        _WARNING,
        "a ratio of probabilities is never below 1 - clip_range, so that nothing is clipped there",
        _CLIP,
        above=1.0,
    ),
    Bound("clip_range", _PPO, _NOTICE, "updates are hardly clipped", _CLIP, above=0.4),
    Bound("clip_range", _PPO, _NOTICE, "most updates are clipped", _CLIP, below=0.05),
    Bound(
        "n_epochs",
        _PPO,
        _WARNING,
        "nothing is learned from a rollout",
        "rl-zoo's ppo.yml: 4 to 20",
        below=1,
    ),
    Bound(
        "n_epochs",
        _PPO,
        _NOTICE,
        "a rollout is learned by heart",
        "rl-zoo's ppo.yml: 4 to 20",
        above=50,
    ),
    Bound("policy_delay", ("TD3", "CrossQ"), _WARNING, "the actor hardly moves", _DELAY, above=100),
    Bound("policy_delay", ("TD3", "CrossQ"), _NOTICE, "the actor is slow", _DELAY, above=10),
    Bound(
        "noise_std",
        REPLAY,
        _WARNING,
        "62 of 100 actions are one of their limits, wherever the actor aims",
        _NOISE,
        above=2.0,
    ),
    Bound("noise_std", REPLAY, _NOTICE, "actions are mostly noise", _NOISE, above=0.5),
)
"""The ends, the worst of a setting first. `noise_std` is rl-zoo's word for the standard deviation
of `action_noise`, which is added to actions scaled to [-1, 1]."""

SMALLEST_BUFFER = 2
"""Batches in a replay buffer: with less, each batch is most of what there is."""
ADVISED_BUFFER = 100
"""The smallest in rl-zoo is 78 batches (MountainCar)."""
FASTEST_TARGET, FAST_TARGET = 0.1, 0.05
"""`tau` ÷ `target_update_interval` above which the target is about the online network itself:
arXiv:1801.01290, figure 3c, where 0.1 is unstable; the largest in rl-zoo is 0.05."""
FARTHEST_SEEN = 5
"""Rewards that Q adds up at least, 1 ÷ (1 − 0.8) as for `gamma`: one, and one more with each copy
into a hard target. In rl-zoo's runs there are 200 copies and more."""
MANY_UPDATES, MOST_UPDATES = 4, 20
"""Updates per transition: twice as many as anything in rl-zoo, and those with which SAC fails
(arXiv:2101.05982, figure 1; arXiv:2205.07802, figure 3)."""
WEAKEST_SIGNAL = 0.05
"""Of a change of the inputs, and of a gradient, what comes through all layers of a network that was
just made. Tanh passes all of it, ReLU about half. Of RLMutation's agents those with 0.02 (DQN with
two Sigmoids) hardly learned CartPole, and most of those with 0.12 (A2C) did."""
SHARE_OF_TARGET = 0.05
"""Of its first random weights, what a target may hold at the end of a run."""
FEWEST_STEPS = 4
"""Steps of one environment in a rollout of PPO and TRPO; the smallest in rl-zoo is 8."""
SHORTEST_ROLLOUT = 5
"""Transitions in a rollout of A2C: SB3's default, in one environment."""
DEFAULTS = {
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "tau": 0.005,
    "exploration_final_eps": 0.05,
    "exploration_initial_eps": 1.0,
    "exploration_fraction": 0.1,
    "vf_coef": 0.5,
    "batch_size": 64,
    "clip_range": 0.2,
    "n_epochs": 10,
    "policy_delay": 2,
    "noise_std": 0.1,
    "target_policy_noise": 0.2,
}
"""What to set instead: SB3's defaults where they do not differ from algorithm to algorithm, of PPO
otherwise."""
