"""What a file says besides the settings that are corrected, as Python writes it.

Which arguments a constructor takes that a checkpoint holds, its algorithm's row says.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sacdoctor.algorithms import Algorithm
from sacdoctor.checkpoint import Checkpoint, Pickled, constant_of
from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import Made, Name, Symbols
from sacdoctor.settings.numbers import LINEAR

_ALWAYS = ("policy_kwargs", "tensorboard_log", "seed", "verbose")
_SB3 = ("stable_baselines3.", "sb3_contrib.")
_SET_BY_SB3 = ("use_sde", "device")
"""In `policy_kwargs`, where SB3's constructors have put them."""
_ENVIRONMENT_KEYS = ("env", "env_id", "env_name", "environment")
_STEPS_KEYS = ("n_timesteps", "total_timesteps")
_ENVIRONMENT = re.compile(r"[\w./:-]{1,100}", re.ASCII)
_CONSTANT = re.compile(r"ConstantSchedule\(val=(\d+(?:\.\d+)?(?:e-?\d+)?)\)")
"""What SB3 from 2.7 on shows of a `FloatSchedule` that stays as it is."""
_AROUND = ("normalize", "env_wrapper", "frame_stack", "vec_env_wrapper", "callback")
"""rl-zoo's keys about what stands around the model."""
_ZOO_NAMES = {"nn": "from torch import nn", "th": "import torch as th", "torch": "import torch"}
_HEADER = 4096
_LONGEST = 1 << 64
"""Whole numbers of a setting; Python refuses to write those of some thousand digits."""
_MOST_LOGS = 20
_MOST_VALUES = 300
"""Values in a setting that is written out; `policy_kwargs` have under 30."""


class Kept(Struct):
    """What is to stand in a script: expressions by argument, and the imports that they need.

    `policy` is an expression, None for the algorithm's usual one. `left_out` are the settings that
    no expression says.
    """

    policy: str | None = None
    environment: str | None = None
    n_envs: int = 1
    steps: int | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def add(self, key: str, value: Any) -> None:
        """Keep an argument; None is every constructor's own default."""
        if value is None or value == {}:
            return
        said = _expression(value, self.imports) if _is_short(value) else None
        if said is None:
            self.left_out.append(key)
        else:
            self.arguments[key] = said


def kept_of_checkpoint(checkpoint: Checkpoint, row: Algorithm) -> Kept:
    """Return what a checkpoint says of its training besides; pickles in it are read, not run."""
    saved = checkpoint.hyperparameters
    kept = Kept(
        environment=_environment_beside(checkpoint.path),
        n_envs=saved.integer("n_envs") or 1,
        steps=saved.integer("_total_timesteps") or None,
    )
    for key in (*row.arguments, *_ALWAYS):
        value = saved.get(key)
        if key == "train_freq" and type(value) is int and value < 0:
            value = (saved.integer("n_episodes_rollout") or 1, "episode")  # before SB3 1.0
        kept.add(key, _read(key, value) if isinstance(value, Pickled) else _own(key, value))
    _keep_policy(kept, saved.get("policy_class"))
    return kept


def _own(key: str, value: Any) -> Any:
    """Return a setting without what SB3 has added to it."""
    if key == "policy_kwargs" and isinstance(value, dict):
        return {name: one for name, one in value.items() if name not in _SET_BY_SB3}
    return value


def _read(key: str, value: Pickled) -> Any:
    """Return what a pickled setting says, the pickle itself where no expression could."""
    if key.startswith("clip_range"):
        constant = constant_of(value.pickle(), value.budget)
        shown = _CONSTANT.fullmatch(str(value.attributes.get("value_schedule")))
        if constant is None and shown is not None:
            constant = float(shown[1])
        return value if constant is None else constant
    try:
        made = value.read(Symbols())
    except CheckpointError:
        return value
    if key == "train_freq" and isinstance(made, Made) and len(made.args) == 2:
        number, unit = made.args
        words = unit.args if isinstance(unit, Made) else ()
        said = next((word.lower() for word in words if isinstance(word, str)), None)
        return (number, said) if said in ("step", "episode") else value
    return _own(key, made)


def _keep_policy(kept: Kept, saved: Any) -> None:
    """Keep which policy it is: by SB3's word for it, or a class of the user's by its name."""
    name = None
    if isinstance(saved, Pickled):
        with suppress(CheckpointError):
            name = saved.read(Symbols())
    if not isinstance(name, Name):
        if saved is not None:
            kept.left_out.append("policy_class")
        return
    if name.module.startswith(_SB3):
        recurrent = "Lstm" if "Recurrent" in name.qualname else ""
        for kind in ("MultiInput", "Cnn"):
            if kind in name.qualname:
                kept.policy = _text(f"{kind}{recurrent}Policy")
        return
    kept.policy = _expression(name, kept.imports)
    if kept.policy is None:
        kept.left_out.append("policy_class")


def kept_of_file(settings: Mapping[str, object], row: Algorithm) -> Kept:
    """Return what a settings file says besides; what it says twice, differently, is left out."""
    kept = Kept()
    values: dict[str, object] = {}
    twice: set[str] = set()
    sections = [key for key, value in settings.items() if isinstance(value, dict)]
    for key, value in _pairs(settings):
        if values.setdefault(key, value) != value:
            twice.add(key)
    kept.left_out += sorted(twice & {*row.arguments, *_ALWAYS})
    for key in (*row.arguments, *_ALWAYS):
        if key in values and key not in twice:
            value = values[key]
            said = _zoo(key, value, kept.imports) if isinstance(value, str) else None
            if said is not None:
                kept.arguments[key] = said
            else:
                kept.add(
                    key, tuple(value) if key == "train_freq" and type(value) is list else value
                )
    kept.left_out += [key for key in _AROUND if values.get(key)]
    named = [values.get(key) for key in _ENVIRONMENT_KEYS]
    named += sections if len(sections) == len(settings) == 1 and "-v" in sections[0] else []
    kept.environment = next(filter(None, map(_environment, named)), None)
    policy = values.get("policy")
    if isinstance(policy, str) and policy.isidentifier() and policy.endswith("Policy"):
        kept.policy = _text(policy)
    kept.n_envs = _count(values.get("n_envs")) or 1
    kept.steps = next(filter(None, (_count(values.get(key)) for key in _STEPS_KEYS)), None)
    return kept


def _pairs(section: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield what a section and those below it say; `policy_kwargs` are a value."""
    for key, value in section.items():
        if isinstance(value, dict) and key != "policy_kwargs":
            yield from _pairs(value)
        else:
            yield key, value


def _count(value: object) -> int | None:
    if isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 1e6 as a text
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if isfinite(value) and value >= 1 else None


def _zoo(key: str, value: str, imports: set[str]) -> str | None:
    """Return what rl-zoo makes of a text: a linear schedule, or an expression that it evaluates."""
    if value.startswith(LINEAR):
        number = value.removeprefix(LINEAR)
        try:
            start = float(number)
        except ValueError:
            return None
        return f"lambda progress_remaining: {start!r} * progress_remaining"
    if key != "policy_kwargs":
        return None
    try:
        tree = ast.parse(value.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    needed: set[str] = set()
    if not _is_plain(tree.body, needed):
        return None
    imports |= needed
    return ascii_source(tree)


def ascii_source(tree: ast.Expression) -> str | None:
    """Return the text of an expression, None where it holds more than ASCII."""
    text = ast.unparse(tree)
    return text if text.isascii() and text.isprintable() else None


def _is_plain(node: ast.expr, imports: set[str]) -> bool:
    """Return whether an expression only makes values: literals, `dict(…)`, classes of torch."""
    match node:
        case ast.Constant():
            return True
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return all(_is_plain(part, imports) for part in parts)
        case ast.Dict(keys=keys, values=values):
            named = all(key is not None and _is_plain(key, imports) for key in keys)
            return named and all(_is_plain(value, imports) for value in values)
        case ast.UnaryOp(op=ast.USub(), operand=number):
            return isinstance(number, ast.Constant)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=pairs):
            return all(pair.arg is not None and _is_plain(pair.value, imports) for pair in pairs)
        case ast.Attribute(value=ast.Name(id=name)) if name in _ZOO_NAMES:
            imports.add(_ZOO_NAMES[name])
            return True
        case ast.Attribute(value=ast.Attribute() as outer):
            return _is_plain(outer, imports)
    return False


def _is_short(value: Any) -> bool:
    """Return whether a value is one to be written out: a list may hold another many times."""
    waiting, met = [value], 0
    while waiting:
        item = waiting.pop()
        met += 1
        if isinstance(item, (list, tuple)):
            waiting += item
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        if met + len(waiting) > _MOST_VALUES:
            return False
    return True


def _expression(value: Any, imports: set[str]) -> str | None:
    """Return a value as Python writes it, None where it is more than a value."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return f"{value:_}" if value < _LONGEST else None
    if isinstance(value, float):
        return repr(value) if isfinite(value) else None
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Name):
        parts = (*value.module.split("."), value.qualname)
        if value.module == "__main__" or not all(map(_is_name, parts)):
            return None
        imports.add(f"from {value.module} import {value.qualname}")
        return value.qualname
    if isinstance(value, (list, tuple)):
        items = [_expression(item, imports) for item in value]
        if any(item is None for item in items):
            return None
        inner = ", ".join(map(str, items))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(items) == 1 else f"({inner})"
    if isinstance(value, dict):
        pairs = [(_expression(k, imports), _expression(v, imports)) for k, v in value.items()]
        if any(None in pair for pair in pairs):
            return None
        return f"{{{', '.join(f'{key}: {one}' for key, one in pairs)}}}"
    return None


def _text(value: str) -> str:
    """Return a text in ASCII, between double quotes where it holds none."""
    written = ascii(value)
    return written if {'"', "'"} & {*value} else f'"{written[1:-1]}"'


def _is_name(part: str) -> bool:
    return part.isascii() and part.isidentifier() and not keyword.iskeyword(part)


# -- the environment ---------------------------------------------------------------------------


def _environment(name: object) -> str | None:
    return name if isinstance(name, str) and _ENVIRONMENT.fullmatch(name) else None


def _environment_beside(path: Path) -> str | None:
    """Return the environment that SB3's monitors name in their logs beside a file, or one above.

    None where there are no logs, or where they name several: a checkpoint does not say it itself.
    """
    for folder in (path.absolute().parent, path.absolute().parent.parent):
        try:
            logs = sorted(folder.glob("*monitor.csv"))[:_MOST_LOGS]
            named = {_environment_in(log) for log in logs}
        except OSError:
            return None
        if named:
            return named.pop() if len(named) == 1 else None
    return None


def _environment_in(log: Path) -> str | None:
    """Source: `ResultsWriter` in stable_baselines3/common/monitor.py."""
    if not log.is_file():
        return None  # a pipe would block
    with log.open("rb") as file:
        first = file.readline(_HEADER)
    try:
        head = json.loads(first.removeprefix(b"#"))
    except (ValueError, RecursionError):
        return None
    return _environment(head.get("env_id")) if isinstance(head, dict) else None
