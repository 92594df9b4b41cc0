"""Pickled spaces of gym, which SB3 from 2.0 on does not load where gym is not installed.

## What it does
Names the settings whose pickles ask for modules of `gym`, the predecessor of gymnasium: SB3 before
2.0 saved observation and action spaces so. It does not look at what is installed here: where you
load the file decides.

## Why is this bad
It need not be bad: the weights are sound. But `load` raises `ModuleNotFoundError: No module named
'gym'` in an environment made for SB3 2 or later, and gym itself is no longer maintained.

## Example
`observation_space` in a model of SB3 1.5 is a `gym.spaces.box.Box`.

## Use instead
`sacdoctor fix --for-this-environment model.zip`, run where the file is to be loaded, writes a copy
whose pickles ask for gymnasium's spaces. By hand: load it once with spaces of gymnasium in their
place, `PPO.load(path, custom_objects={"observation_space": env.observation_space,
"action_space": env.action_space})`, then `model.save(path)`.

## Fix safety
Safe. Only names change: gym's spaces become gymnasium's of the same name, which take over their
state, and numpy's private modules those of the numpy installed. Every other byte stays. It says
what it cannot cure: code of another Python, and packages that are not installed.

## References
- SB3 docs, "Migrating from Gym to Gymnasium", and changelog of 2.0.0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sacdoctor.checkpoint import Pickled
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.errors import CheckpointError
from sacdoctor.model import Finding
from sacdoctor.pickles import Name, Symbols
from sacdoctor.severity import Severity

_SPACES = ("observation_space", "action_space")
"""What `load` cannot do without; of anything else it says that it could not be read, and goes on.
Source: `json_to_data` in stable_baselines3/common/save_util.py."""
_GYM = b"gym."


class _Modules(Symbols):
    """Keeps the modules of the names that a pickle asks for."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def name(self, module: str, qualname: str, protocol: int) -> Name:
        self.found.add(module)
        return super().name(module, qualname, protocol)


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over the spaces that are gym's."""
    settings = examination.facts.checkpoint.hyperparameters
    asked = {key: _modules_of_gym(settings.get(key)) for key in _SPACES}
    keys = [key for key, modules in asked.items() if modules]
    if not keys:
        return
    modules = sorted({module for key in keys for module in asked[key]})
    yield RULE.finding(
        Severity.NOTICE,
        "it loads only where gym is installed, which gymnasium has replaced",
        evidence=f"{' and '.join(keys)} in `data` ask for {', '.join(modules)}",
        remedy=(
            "`sacdoctor fix --for-this-environment`, where gymnasium is installed, writes a copy "
            "that asks for its spaces. By hand: load it with `custom_objects={'observation_space': "
            "env.observation_space, 'action_space': env.action_space}` and save it again."
        ),
        in_passing=True,
    )


def _modules_of_gym(value: Any) -> list[str]:
    if not isinstance(value, Pickled):
        return []
    names = _Modules()
    try:
        if _GYM not in value.pickle():
            return []  # the usual case, told without a walk
        value.read(names)
    except CheckpointError:
        return []
    return [module for module in names.found if module.startswith(_GYM.decode())]


RULE = Rule(
    code="SD805",
    name="portability",
    doc=__doc__,
    severities=(Severity.NOTICE,),
    checks=(Check(Examination, check),),
    cured_by=("fix --for-this-environment",),
)
