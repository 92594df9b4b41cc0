"""Everything about one checkpoint that causes and rules look at, worked out once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from sacdoctor.algorithms import ALGORITHMS, Algorithm
from sacdoctor.checkpoint import Checkpoint, OptimizerState, Tensor
from sacdoctor.diagnosis.anatomy import Anatomy
from sacdoctor.diagnosis.coverage import Coverage, Slot, cover, of_the_policy
from sacdoctor.diagnosis.policy_settings import (
    activation_behind,
    biases_start_at_zero,
    last_observations,
    observations,
)
from sacdoctor.diagnosis.statistics import Measures, measure
from sacdoctor.layers import Kind
from sacdoctor.optimizers import keeps_moments
from sacdoctor.trust import LoadedCode, parts_of, suspicions

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Facts(Struct, frozen=True, dict=True):
    """A checkpoint's tensors, what they are, what was measured, and what the optimizers cover.

    Each is worked out when it is first asked for, and kept; `components` maps name patterns to the
    user's own names for parts of the agent, `trusted` are modules of his own. Every property may
    raise `CheckpointError`, as reading the checkpoint does.
    """

    checkpoint: Checkpoint
    components: Mapping[str, str] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()

    @cached_property
    def anatomy(self) -> Anatomy:
        """What each tensor is, and which are one and the same."""
        return Anatomy.of(self.tensors, self.components)

    @cached_property
    def measures(self) -> Mapping[str, Measures]:
        """What was measured of every tensor of the policy, aliases included."""
        found: dict[str, Measures] = {}
        for name in self.tensors:
            owner = self.anatomy.owner(name)
            found[name] = found[owner] if owner != name else measure(self.tensors[name])
        return found

    @cached_property
    def coverage(self) -> Coverage:
        """Which optimizer entries are whose."""
        return cover(self.anatomy, self.tensors, self.optimizers)

    @cached_property
    def code(self) -> LoadedCode:
        """What loading the file would run beyond SB3 and its libraries."""
        return LoadedCode(suspicions(parts_of(self.checkpoint), trusted=self.trusted))

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        return self.checkpoint.tensors

    @cached_property
    def optimizers(self) -> Mapping[str, OptimizerState]:
        return self.checkpoint.optimizers

    @cached_property
    def policy_optimizers(self) -> Mapping[str, OptimizerState]:
        """The optimizers that look after the policy: all but that of `log_ent_coef`."""
        return of_the_policy(self.optimizers)

    @property
    def n_updates(self) -> int | None:
        """SB3's counter of updates, None where the file does not say."""
        return self.checkpoint.hyperparameters.integer("_n_updates")

    @property
    def counters_say_untrained(self) -> bool:
        """Whether the counters agree that no update took place.

        Where there are none, moments that an optimizer keeps are as good.
        """
        settings = self.checkpoint.hyperparameters
        if not settings and any(state.moments for state in self.optimizers.values()):
            return False
        steps, starts = settings.integer("num_timesteps"), settings.integer("learning_starts")
        if self.n_updates is not None:
            return self.n_updates == 0 or (
                steps is not None and starts is not None and steps <= starts
            )
        return not steps or (starts is not None and steps <= starts)

    @property
    def is_untrained(self) -> bool:
        """Whether the policy has optimizers, none has moments, and the counters agree.

        In a file of somebody's own, which counts no updates, all must be of a kind that would.
        """
        policy = self.policy_optimizers.values()
        if not policy or any(state.moments for state in self.optimizers.values()):
            return False
        if self.n_updates is None and any(state.parts is not None for state in policy):
            return all(_keeps_moments(state) for state in policy)
        return self.counters_say_untrained

    def updates_without(self, optimizer: str) -> int | None:
        """Return how many updates others had while this one moved nothing, None where it did.

        So it is where it has no moments and would keep some, and others of the policy have them.
        """
        state = self.optimizers[optimizer]
        if state.moments or not state.entries or not _keeps_moments(state):
            return None
        steps = [
            int(step)
            for other in self.policy_optimizers.values()
            for number in other.entries
            if (step := other.step(number)) is not None and 0 < step < float("inf")
        ]
        return max(steps, default=None)

    @property
    def algorithm(self) -> Algorithm | None:
        """What is known of the algorithm, None where the settings do not tell which it is."""
        name = self.checkpoint.algorithm
        return None if name is None else ALGORITHMS[name]

    @property
    def updates_by_other_means(self) -> bool:
        """Whether the algorithm updates tensors that its optimizer does not look after."""
        return self.algorithm is not None and self.algorithm.updates_by_other_means

    @cached_property
    def biases_start_at_zero(self) -> bool:
        """Whether a bias that is exactly 0 may be what SB3 made it."""
        return biases_start_at_zero(self.checkpoint, self.algorithm)

    @cached_property
    def last_observations(self) -> list[NDArray[Any]]:
        """What the agent saw last, in floats: a row per environment, of a dict each entry's."""
        return last_observations(self.checkpoint)

    @cached_property
    def last_seen(self) -> int | None:
        """What stands for the last observation: one and the same for the same numbers.

        None where an episode just began, and where all numbers are whole, as places in a grid are.
        """
        starts = observations(self.checkpoint, "_last_episode_starts").values()
        seen = self.last_observations
        if any(values.any() for values in starts) or all((of == of.round()).all() for of in seen):
            return None
        return hash(b"".join(values.tobytes() for values in seen))

    @cached_property
    def before_norm(self) -> frozenset[str]:
        """The layers behind which the next in the file is a normalisation layer."""
        roles = self.anatomy.roles
        layers = dict.fromkeys((roles[name].layer, roles[name].kind) for name in self.tensors)
        return frozenset(layer for (layer, _), (_, kind) in pairwise(layers) if kind is Kind.NORM)

    def activation(self, name: str) -> str | None:
        """Return the class of the activation behind a tensor's layer, None for none or unknown."""
        return activation_behind(self.checkpoint, self.algorithm, name)

    def moments(self, name: str) -> Iterator[tuple[Slot, Mapping[str, object]]]:
        """Yield each slot of a tensor with what the optimizer keeps there, maybe nothing."""
        for slot in self.coverage.slots.get(name, ()):
            yield slot, self.optimizers[slot.optimizer].moments.get(slot.number, {})

    def own(self) -> Iterator[str]:
        """Yield the names of all tensors but aliases."""
        return (name for name in self.tensors if name not in self.anatomy.aliases)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The weights and biases by name: no buffers, aliases or empty tensors.

        A tensor with another kind of name may be a buffer; a state dict does not tell.
        """
        return tuple(
            name
            for name in self.own()
            if self.anatomy.roles[name].role in ("weight", "bias") and self.tensors[name].numel
        )


def _keeps_moments(state: OptimizerState) -> bool:
    return all(keeps_moments(group.options) for group in state.groups)
