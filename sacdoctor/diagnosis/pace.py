"""How often a run updates its networks and their targets, against the steps that it takes."""

from __future__ import annotations

from sacdoctor.diagnosis.facts import Facts
from sacdoctor.layers import Kind

_FEWEST_STEPS = 100
"""Steps since `learning_starts`: with fewer, one call of `train` counts for much."""


def target_copies(facts: Facts) -> int | None:
    """Return how often DQN's target becomes a copy of a network that was trained, in the whole run.

    None where the file does not say, where the target follows by parts (`tau` below 1), or where
    the run went on with an earlier one.
    """
    settings = facts.checkpoint.hyperparameters
    interval, total = settings.integer("target_update_interval"), settings.integer("num_timesteps")
    if not interval or not total or not facts.n_updates or settings.number("tau") != 1.0:
        return None
    if settings.number("_num_timesteps_at_start"):
        return None
    total = max(total, settings.integer("_total_timesteps") or 0)
    starts = settings.integer("learning_starts") or 0
    return total // interval - min(starts, total) // interval


def updates_per_transition(facts: Facts) -> float | None:
    """Return how many updates follow each transition, where it is the settings that ask for it.

    The smaller of what `gradient_steps` asks for and what the counters say, which go on by
    themselves in a run that was resumed. None where a file does not say, and where layers that
    normalise keep a critic from growing (arXiv:2110.02034).
    """
    settings = facts.checkpoint.hyperparameters
    steps, asked = settings.integer("num_timesteps"), settings.integer("gradient_steps")
    if not steps or not asked or not facts.n_updates:
        return None
    collected = steps - (settings.integer("learning_starts") or 0)
    roles = facts.anatomy.roles
    if collected < _FEWEST_STEPS or any(roles[name].kind is Kind.NORM for name in facts.tensors):
        return None
    return min(asked / max(settings.integer("n_envs") or 1, 1), facts.n_updates / collected)


def sigmoid_layers(facts: Facts) -> int:
    """Return how many layers with a Sigmoid behind them lie in a row, in the deepest network."""
    found: dict[str, int] = {}
    for name in facts.parameters:
        role = facts.anatomy.roles[name]
        if role.role == "weight" and facts.activation(name) == "Sigmoid":
            network = role.layer.rpartition(".")[0]
            # SB3's other networks end in a layer without an activation.
            first = 0 if network.endswith(("policy_net", "value_net", "latent_pi")) else -1
            found[network] = found.get(network, first) + 1
    return max(found.values(), default=0)
