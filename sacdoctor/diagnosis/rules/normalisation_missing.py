"""An agent trained under `VecNormalize` without the statistics that it needs.

## What it does
Looks whether the file shows that the agent was trained under `VecNormalize`, and whether a pickle
of one lies beside it: in the same folder, in those directly below and in the one above, by its
content. On-policy algorithms keep `_last_original_obs` only under `VecNormalize`. That of
off-policy algorithms is the observation before the last without one, so they take more: a last
observation outside of the observation space while the original one lies inside, or of another type
of numbers. It is a notice, as the statistics may be elsewhere: in passing for a checkpoint by
itself, and one of the run in `sacdoctor history`, which looks through its whole folder.

## Why is this bad
The zip does not hold the statistics. Loaded without them the network sees observations of another
size and centre than it was trained on, and acts like one that was never trained: an agent whose
return was −3 came to −24.

## Example
`model.save("agent")` and no `env.save("vecnormalize.pkl")`. `CheckpointCallback` without
`save_vecnormalize=True`.

## Use instead
Save both, and load both: `env = VecNormalize.load("vecnormalize.pkl", venv)`, then
`env.training = False` and `env.norm_reward = False` to evaluate.

## Fix safety
No fix: the statistics stand nowhere else. Training on for some ten thousand steps under a new
`VecNormalize` gathers new ones.

## References
- Stable-Baselines3, "Examples": "PyBullet: Normalizing input features"
- stable_baselines3/common/callbacks.py: `CheckpointCallback(save_vecnormalize=True)`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.normalisation import Normalised
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(agent: Normalised) -> Iterator[Finding]:
    """Yield the finding about statistics that are nowhere beside the file."""
    if agent.is_beside:
        return
    what = "observations" if agent.proof else "observations, rewards or both"
    yield RULE.finding(
        Severity.NOTICE,
        f"trained under VecNormalize ({what}), and its statistics are not "
        f"{'in the run' if agent.is_of_run else 'beside the file'}",
        evidence=agent.proof or "SB3 keeps `_last_original_obs` only under VecNormalize",
        remedy=(
            "Load it with the statistics of its training (`VecNormalize.load(PATH, venv)`), and "
            "keep them beside it: `env.save(PATH)`, `CheckpointCallback(save_vecnormalize=True)`."
        ),
        in_passing=not agent.is_of_run,
    )


RULE = Rule(
    code="SD801",
    name="normalisation-missing",
    doc=__doc__,
    severities=(Severity.NOTICE,),
    checks=(Check(Normalised, check),),
)
