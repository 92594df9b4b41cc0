"""The algorithms of SB3 and sb3-contrib: all that is known of each, one row per algorithm.

What is written here holds for SB3 0.6 to 2.9 and sb3-contrib 1.0 to 2.9; paths below are theirs.
Adding an algorithm is adding a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, Protocol

from msgspec import Struct, field


class SavedSettings(Protocol):
    """The settings in a checkpoint, as far as an algorithm is recognised by them."""

    def __contains__(self, key: object, /) -> bool: ...

    def number(self, key: str) -> float | None:
        """Return a finite number, None where the value is missing or something else."""

    def class_name(self, key: str) -> str | None:
        """Return the dotted name of the class under `key`, None where it holds no class."""


_Recognise = Callable[[SavedSettings, Collection[str]], bool]
"""From the settings and the names of the policy's tensors."""


class PolicyUpdate(Enum):
    """How an algorithm changes the parameters of its policy."""

    OPTIMIZER = "optimizer"
    """By gradients, through the optimizers that the checkpoint holds."""
    NATURAL_GRADIENT = "natural gradient"
    """By a line search over all of the policy's parameters, found by their names; its optimizer
    updates the value function alone (sb3_contrib/trpo/trpo.py, `train`)."""
    RANDOM_SEARCH = "random search"
    """By finite differences, on weights of its own that are copied into the policy: no gradients
    and no optimizer (sb3_contrib/ars/ars.py)."""


_FAR_ABOVE = 3.0
"""How many times the upper end is far above it: half an order of magnitude, a judgement."""


class LearningRates(Struct, frozen=True):
    """An algorithm's learning rates: the configured one, from which a schedule may decay.

    A range says where training usually goes well, not where it goes wrong: what a rate does hangs
    on batch size, network and normalisation too, so tuned rates lie outside of it now and then, and
    a run inside of it can still go bad for another reason. `tuned` is the largest rate among
    rl-zoo's settings for this algorithm (DLR-RM/rl-baselines3-zoo,
    hyperparams/*.yml, all environments, `lin_` schedules by their start), SB3's default where that
    is larger.
    """

    recommended: float
    low: float
    high: float
    tuned: float
    source: str

    @property
    def critical_above(self) -> float:
        """Above this no tuned setting lies, and the safe range is far away.

        For SAC it is rl-zoo's largest rate, because the safe range's upper end is far below that.
        """
        return max(self.tuned, _FAR_ABOVE * self.high)


class Algorithm(Struct, frozen=True):
    """One algorithm. `name` is its class's, `package` where that is imported from.

    - `recognises`: whether a checkpoint's settings are this algorithm's, or those of one that saves
      the same and more, as TQC does with SAC's.
    - `precedence`: of several that recognise the same settings, the highest counts.
    - `also_called`: what people call it beside its class name, however they set `_`, `-` and case.
    - `optimizers`: of the policy, by their members in the zip without `.pth`; what stands before
      `.optimizer` is the part that it looks after, `policy` for all.
    - `variables`: what has an optimizer and is no part of the policy, by that optimizer.
    - `targets`: the networks that have a target network; that is called as they are and `_target`.
    - `default_activation`: between the layers of its policies, by its class in `torch.nn`.
    - `biases_start_at_zero`: whether its policies set all biases to 0 (stable_baselines3/common/
      policies.py, `init_weights`); else they are PyTorch's uniform draw.
    - `clips`: whether its constructor takes `max_grad_norm`.
    - `max_grad_norm`: SB3's default for it, None for no clipping.
    - `loosest_max_grad_norm`: the upper end of its safe range where that is not everybody's
      (`settings/ranges.py`).
    - `replays`: whether it learns from a replay buffer, and so takes `learning_starts`.
    - `policy`: what to train by name where nothing is said: one without image layers.
    - `continuous_only`: whether it takes no actions but those of a `Box`.
    - `needs_masks`: whether its environment has to say which actions are allowed.
    - `arguments`: of its constructor, beside those that the settings know: those that a model keeps
      under the argument's own name, so that a checkpoint holds them (stable_baselines3/*/*.py,
      sb3_contrib/*/*.py).
    - `in_rl_zoo`: whether rl-zoo trains it (rl_zoo3/utils.py, `ALGOS`).
    """

    name: str
    package: str
    recognises: _Recognise
    precedence: int
    learning_rates: LearningRates
    default_activation: Literal["ReLU", "Tanh"]
    optimizers: tuple[str, ...]
    also_called: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    biases_start_at_zero: bool = False
    clips: bool = False
    max_grad_norm: float | None = None
    loosest_max_grad_norm: float | None = None
    replays: bool = False
    policy_update: PolicyUpdate = PolicyUpdate.OPTIMIZER
    policy: str = "MlpPolicy"
    continuous_only: bool = False
    needs_masks: bool = False
    arguments: tuple[str, ...] = ()
    in_rl_zoo: bool = True

    @property
    def updates_by_other_means(self) -> bool:
        """Whether its policy changes without an entry in an optimizer."""
        return self.policy_update is not PolicyUpdate.OPTIMIZER

    @property
    def has_gradients(self) -> bool:
        return self.policy_update is not PolicyUpdate.RANDOM_SEARCH


def _saves(*keys: str) -> _Recognise:
    """Return a test for settings with one of these keys."""
    return lambda settings, _: any(key in settings for key in keys)


def _is_ddpg(settings: SavedSettings, _: Collection[str]) -> bool:
    # DDPG is TD3 with these two set so (stable_baselines3/ddpg/ddpg.py).
    return settings.number("policy_delay") == 1 and settings.number("target_noise_clip") == 0


def _is_crossq(settings: SavedSettings, _: Collection[str]) -> bool:
    # It has no target network to update (sb3_contrib/crossq/crossq.py).
    keys = ("target_entropy", "policy_delay")
    return all(key in settings for key in keys) and "target_update_interval" not in settings


def _is_maskable_ppo(settings: SavedSettings, _: Collection[str]) -> bool:
    return "clip_range" in settings and _kind_of_ppo(settings) == "maskable"


def _is_recurrent_ppo(settings: SavedSettings, tensor_names: Collection[str]) -> bool:
    has_lstm = any(name.startswith("lstm_actor.") for name in tensor_names)
    return "clip_range" in settings and (has_lstm or _kind_of_ppo(settings) == "recurrent")


def _kind_of_ppo(settings: SavedSettings) -> str | None:
    """Return `maskable` or `recurrent`, from the modules and classes of sb3_contrib/common."""
    for key in ("policy_class", "rollout_buffer_class"):
        name = settings.class_name(key) or ""
        for kind in ("maskable", "recurrent"):
            if f".{kind}." in name or f".{kind.title()}" in name:
                return kind
    return None


_PPO_RATES = LearningRates(
    recommended=3e-4,
    low=1e-5,
    high=1e-3,
    tuned=1e-3,
    source="SB3's default 3e-4; rl-zoo's ppo.yml and ppo_lstm.yml: 2.06e-5 to 1e-3",
)
_ACTOR_CRITIC = ("actor.optimizer", "critic.optimizer")
_WHOLE_POLICY = ("policy.optimizer",)
_ENTROPY = MappingProxyType({"ent_coef_optimizer": "log_ent_coef"})
"""Where `ent_coef` is learned (stable_baselines3/sac/sac.py, `_get_torch_save_params`)."""

_REPLAY_ARGUMENTS = (
    *("buffer_size", "batch_size", "tau", "gamma", "train_freq", "gradient_steps"),
    *("optimize_memory_usage", "n_steps"),
)
_SDE_ARGUMENTS = ("use_sde", "sde_sample_freq")
_ENTROPY_ARGUMENTS = (
    "ent_coef",
    "target_update_interval",
    "target_entropy",
    *_SDE_ARGUMENTS,
    "use_sde_at_warmup",
)
_ROLLOUT_ARGUMENTS = ("n_steps", "gamma", "gae_lambda", "normalize_advantage")
_Q_ARGUMENTS = (
    *_REPLAY_ARGUMENTS,
    *("target_update_interval", "exploration_fraction", "exploration_initial_eps"),
    "exploration_final_eps",
)
_PPO_ARGUMENTS = (
    *(*_ROLLOUT_ARGUMENTS, "batch_size", "n_epochs", "clip_range", "clip_range_vf"),
    *("ent_coef", "vf_coef", "target_kl"),
)

_ROWS = (
    Algorithm(
        "SAC",
        package="stable_baselines3",
        recognises=_saves("target_entropy"),
        precedence=2,
        learning_rates=LearningRates(
            recommended=1e-4,
            low=1e-5,
            high=3e-4,
            tuned=1e-3,
            source=(
                "upper end: SB3's default and the paper's (arXiv:1812.05905, table 1), 3e-4; "
                "rl-zoo's sac.yml: 3e-4 to 1e-3"
            ),
        ),
        default_activation="ReLU",
        optimizers=_ACTOR_CRITIC,
        variables=_ENTROPY,
        targets=("critic",),
        replays=True,
        continuous_only=True,
        arguments=(*_REPLAY_ARGUMENTS, *_ENTROPY_ARGUMENTS),
    ),
    Algorithm(
        "TD3",
        package="stable_baselines3",
        recognises=_saves("target_noise_clip"),
        precedence=9,
        learning_rates=LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="SB3's default 1e-3; rl-zoo's td3.yml: 7e-4 to 1e-3",
        ),
        default_activation="ReLU",
        optimizers=_ACTOR_CRITIC,
        targets=("actor", "critic"),
        replays=True,
        continuous_only=True,
        arguments=(*_REPLAY_ARGUMENTS, "policy_delay", "target_policy_noise", "target_noise_clip"),
    ),
    Algorithm(
        "DDPG",
        package="stable_baselines3",
        recognises=_is_ddpg,
        precedence=10,
        learning_rates=LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="SB3's default 1e-3; rl-zoo's ddpg.yml: 7e-4 to 1e-3",
        ),
        default_activation="ReLU",
        optimizers=_ACTOR_CRITIC,
        targets=("actor", "critic"),
        replays=True,
        continuous_only=True,
        arguments=_REPLAY_ARGUMENTS,
    ),
    Algorithm(
        "TQC",
        package="sb3_contrib",
        recognises=_saves("top_quantiles_to_drop_per_net"),
        precedence=13,
        # SAC with quantile critics, but tuned with rates up to 1e-3 in most environments.
        learning_rates=LearningRates(
            recommended=3e-4,
            low=1e-5,
            high=1e-3,
            tuned=1.5e-3,  # of a highway environment (parking), with batches of 2,048
            source="sb3-contrib's default 3e-4; rl-zoo's tqc.yml: 3e-4 to 1.5e-3",
        ),
        default_activation="ReLU",
        optimizers=_ACTOR_CRITIC,
        variables=_ENTROPY,
        targets=("critic",),
        replays=True,
        continuous_only=True,
        arguments=(*_REPLAY_ARGUMENTS, *_ENTROPY_ARGUMENTS, "top_quantiles_to_drop_per_net"),
    ),
    Algorithm(
        "CrossQ",
        package="sb3_contrib",
        recognises=_is_crossq,
        precedence=3,
        learning_rates=LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="sb3-contrib's default 1e-3; rl-zoo's crossq.yml: 7e-4 to 1e-3",
        ),
        default_activation="ReLU",
        optimizers=_ACTOR_CRITIC,
        variables=_ENTROPY,
        replays=True,
        continuous_only=True,
        arguments=(
            *(name for name in _REPLAY_ARGUMENTS if name != "tau"),
            *("ent_coef", "target_entropy", "policy_delay", *_SDE_ARGUMENTS, "use_sde_at_warmup"),
        ),
    ),
    Algorithm(
        "DQN",
        package="stable_baselines3",
        recognises=_saves("exploration_schedule", "exploration_fraction"),
        precedence=11,
        # MountainCar's 4e-3 stands alone in dqn.yml and qrdqn.yml; the others go up to 2.3e-3.
        learning_rates=LearningRates(
            recommended=1e-4,
            low=1e-5,
            high=1e-3,
            tuned=4e-3,
            source="SB3's default 1e-4; rl-zoo's dqn.yml: 1e-4 to 4e-3",
        ),
        default_activation="ReLU",
        optimizers=_WHOLE_POLICY,
        targets=("q_net",),
        clips=True,
        max_grad_norm=10.0,
        loosest_max_grad_norm=10.0,
        replays=True,
        arguments=_Q_ARGUMENTS,
    ),
    Algorithm(
        "QRDQN",
        package="sb3_contrib",
        recognises=_saves("n_quantiles"),
        precedence=12,
        learning_rates=LearningRates(
            recommended=5e-5,
            low=1e-5,
            high=1e-3,
            tuned=4e-3,
            source="sb3-contrib's default 5e-5; rl-zoo's qrdqn.yml: 6.3e-4 to 4e-3",
        ),
        default_activation="ReLU",
        optimizers=_WHOLE_POLICY,
        targets=("quantile_net",),
        clips=True,
        loosest_max_grad_norm=10.0,  # where it is set at all, as loose as DQN's
        replays=True,
        arguments=_Q_ARGUMENTS,
    ),
    Algorithm(
        "PPO",
        package="stable_baselines3",
        recognises=_saves("clip_range"),
        precedence=4,
        learning_rates=_PPO_RATES,
        default_activation="Tanh",
        optimizers=_WHOLE_POLICY,
        biases_start_at_zero=True,
        clips=True,
        max_grad_norm=0.5,
        arguments=(*_PPO_ARGUMENTS, *_SDE_ARGUMENTS),
    ),
    Algorithm(
        "MaskablePPO",
        package="sb3_contrib",
        recognises=_is_maskable_ppo,
        precedence=5,
        learning_rates=_PPO_RATES,
        default_activation="Tanh",
        optimizers=_WHOLE_POLICY,
        biases_start_at_zero=True,
        also_called=("ppo_mask",),  # its folder in sb3_contrib
        clips=True,
        max_grad_norm=0.5,
        needs_masks=True,
        in_rl_zoo=False,
        arguments=_PPO_ARGUMENTS,
    ),
    Algorithm(
        "RecurrentPPO",
        package="sb3_contrib",
        recognises=_is_recurrent_ppo,
        precedence=6,
        learning_rates=_PPO_RATES,
        default_activation="Tanh",
        optimizers=_WHOLE_POLICY,
        biases_start_at_zero=True,
        also_called=("ppo_lstm",),  # rl-zoo's name
        clips=True,
        max_grad_norm=0.5,
        policy="MlpLstmPolicy",
        arguments=(*_PPO_ARGUMENTS, *_SDE_ARGUMENTS),
    ),
    Algorithm(
        "A2C",
        package="stable_baselines3",
        recognises=_saves("gae_lambda"),
        precedence=1,
        learning_rates=LearningRates(
            recommended=7e-4,
            low=1e-4,
            high=1e-2,
            tuned=9.6e-4,
            source="SB3's default 7e-4; rl-zoo's a2c.yml: 7e-4 to 9.6e-4",
        ),
        default_activation="Tanh",
        optimizers=_WHOLE_POLICY,
        biases_start_at_zero=True,
        clips=True,
        max_grad_norm=0.5,
        arguments=(*_ROLLOUT_ARGUMENTS, "ent_coef", "vf_coef", *_SDE_ARGUMENTS),
    ),
    Algorithm(
        "TRPO",
        package="sb3_contrib",
        recognises=_saves("cg_max_steps"),
        precedence=8,
        # Of the critic alone: TRPO's policy is updated by its own line search.
        learning_rates=LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="sb3-contrib's default 1e-3; rl-zoo's trpo.yml: 2.5e-4 to 1e-3",
        ),
        default_activation="Tanh",
        optimizers=_WHOLE_POLICY,
        biases_start_at_zero=True,
        policy_update=PolicyUpdate.NATURAL_GRADIENT,
        arguments=(
            *(
                *_ROLLOUT_ARGUMENTS,
                "batch_size",
                "cg_max_steps",
                "cg_damping",
                "line_search_shrinking_factor",
            ),
            *(
                "line_search_max_iter",
                "n_critic_updates",
                "target_kl",
                "sub_sampling_factor",
                *_SDE_ARGUMENTS,
            ),
        ),
    ),
    Algorithm(
        "ARS",
        package="sb3_contrib",
        recognises=_saves("delta_std_schedule", "n_delta"),
        precedence=7,
        # No gradient: the rate scales a finite difference (arXiv:1803.07055).
        learning_rates=LearningRates(
            recommended=2e-2,
            low=1e-3,
            high=3e-2,
            tuned=3e-2,
            source="sb3-contrib's default 0.02; rl-zoo's ars.yml: 0.01 to 0.03",
        ),
        default_activation="ReLU",
        optimizers=(),
        policy_update=PolicyUpdate.RANDOM_SEARCH,
        policy="LinearPolicy",
        arguments=("n_delta", "n_top", "delta_std", "alive_bonus_offset", "n_eval_episodes"),
    ),
)

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by class name."""

_BY_PRECEDENCE = sorted(_ROWS, key=lambda row: -row.precedence)

PARTS_WITH_OPTIMIZER: frozenset[str] = frozenset(
    optimizer.removesuffix(".optimizer")
    for row in _ROWS
    for optimizer in row.optimizers
    if optimizer not in _WHOLE_POLICY
)
"""The parts of a policy that some algorithm gives optimizers of their own: actor and critic."""

TRAINED_VARIABLES: Mapping[str, str] = MappingProxyType(
    {optimizer: variable for row in _ROWS for optimizer, variable in row.variables.items()}
)
"""By the name of its optimizer, what some algorithm trains beside its policy: `log_ent_coef`."""


def algorithm_of(settings: SavedSettings, tensor_names: Iterable[str]) -> str | None:
    """Return the class name of the algorithm, None where the settings fit none of them.

    SB3 saves no name, but its settings give it away: see `Algorithm.recognises`.
    """
    names = tuple(tensor_names)
    return next((row.name for row in _BY_PRECEDENCE if row.recognises(settings, names)), None)


def algorithm_named(text: str) -> str | None:
    """Return the class name that `text` stands for, None where it stands for none.

    `sac`, `SAC`, `ppo_lstm` and `sb3_contrib.RecurrentPPO` are all understood.
    """
    return _NAMED.get(_plain(text.rpartition(".")[2].strip()))


def algorithm_in(file_stem: str) -> str | None:
    """Return the algorithm that a file is named after, as in rl-zoo's `sac.yml`.

    None where it is named after none, or after several.
    """
    whole = algorithm_named(file_stem)
    if whole is not None:
        return whole
    parts = re.split(r"[-_. ]+", file_stem)
    pairs = ["_".join(pair) for pair in pairwise(parts)]
    named = {name for part in pairs if (name := algorithm_named(part)) is not None}
    # `my_ppo_lstm` is named after `ppo_lstm`; that it holds `ppo` too says nothing.
    named = named or {name for part in parts if (name := algorithm_named(part)) is not None}
    return named.pop() if len(named) == 1 else None


def _plain(name: str) -> str:
    return name.translate(_SEPARATORS).lower()


_SEPARATORS = str.maketrans("", "", "-_ ")
_NAMED = {_plain(name): row.name for row in _ROWS for name in (row.name, *row.also_called)}
