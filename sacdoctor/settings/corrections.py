"""What must change in a settings file: its known settings found, judged and corrected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil, isfinite

from msgspec import Struct, field

from sacdoctor.algorithms import algorithm_named
from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.document import Edit, Entry, Language, Scalar, Section, Value
from sacdoctor.settings.judged_ranges import RANGED, RANGED_WITH, WHOLE, judge_ranged
from sacdoctor.settings.numbers import Written, read_number, write_count, write_number
from sacdoctor.settings.verdicts import (
    Verdict,
    judge_clip_grad_value,
    judge_learning_rate,
    judge_learning_starts,
    judge_max_grad_norm,
    judge_warmup_steps,
)

_NAMES = {"lr": "learning_rate"}
"""Other names of a setting. `actor_lr` and its like are not SB3's: there, one rate serves all."""
KNOWN = (
    "learning_rate",
    "max_grad_norm",
    "clip_grad_value",
    "no_trading_warmup_steps",
    "learning_starts",
    *RANGED,
)
_ELSEWHERE = re.compile(r".*(kwargs|wrapper|normalize|env|environment)")
"""Sections whose settings are not the constructor's, whatever they are called."""
_ALGORITHM_KEYS = ("algo", "algorithm", "model_class")
"""`model_class` is the algorithm under HER in older settings (rl-zoo's her.yml)."""
_ENVIRONMENT = re.compile(r".*-v\d+|default|atari")
"""The sections of an rl-zoo file: environment ids, and the two that stand for several."""

_Waiting = tuple[str, Section | None, Entry, str | None]
"""Path, section and entry on a walk, and the algorithm that is named above."""


class Change(Struct, frozen=True):
    """A setting that must change: its dotted path, what the file says, what it should say.

    `before` None: it was not set. `after` None: it is better left unset.
    """

    key: str
    before: str | None
    after: str | None
    verdict: Verdict


class Setting(Struct, frozen=True):
    """A known setting where it was found, and the algorithm it is for (None: the file is mute)."""

    name: str
    path: str
    algorithm: str | None
    section: Section
    entry: Entry
    scalar: Scalar

    @property
    def written(self) -> Written | None:
        """The number, None where it is something else."""
        return None if isinstance(self.scalar.value, bool) else read_number(self.scalar.text)

    @property
    def is_null(self) -> bool:
        return self.scalar.value is None


class Corrections(Struct, frozen=True):
    """The changes, the edits that make them, and every known setting that was looked at."""

    changes: list[Change] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)

    def algorithm(self) -> str | None:
        """Return the algorithm that all settings are for, None where they differ."""
        named = {setting.algorithm for setting in self.settings}
        return named.pop() if len(named) == 1 else None


def is_zoo(root: Section) -> bool:
    """Return whether the top level is one section per environment, as rl-zoo has it."""
    return bool(root.entries) and all(
        isinstance(entry.value, Section) and _ENVIRONMENT.fullmatch(entry.key)
        for entry in root.entries
    )


def algorithm_told(root: Section) -> str | None:
    """Return the algorithm that the file names, None where it names none or several."""
    named: set[str] = set()
    for _, _, entry, _ in _walk(root):
        if entry.key.lower() in _ALGORITHM_KEYS and isinstance(entry.value, Scalar):
            name = algorithm_named(str(entry.value.value))
            named |= {name} if name is not None else set()
    return named.pop() if len(named) == 1 else None


def find_corrections(root: Section, language: Language, algorithm: str | None) -> Corrections:
    """Return what must change in the tree; `algorithm` is for sections that name none.

    A section that is named after an algorithm (`ppo:`) is judged as that. Raises `SacdoctorError`
    where a known setting is for no known algorithm.
    """
    found = Corrections()
    seen: set[int] = set()
    for scope in _scopes(root):
        settings = list(_settings(scope, algorithm))
        warmup = _warmup(settings)
        for setting in settings:
            # A section that is repeated by an alias is corrected once, where it stands.
            if id(setting.scalar) not in seen:
                seen.add(id(setting.scalar))
                found.settings.append(setting)
                _judge(setting, warmup, language, found)
        # One that is an expression or a name is set all the same.
        if not any(entry.key == "learning_starts" for _, _, entry, _ in _walk(scope)):
            _add_learning_starts(settings, warmup, found)
    return found


def _scopes(root: Section) -> list[Section]:
    """Return the sections in which one warm-up holds: rl-zoo's environments, or the whole file."""
    if not is_zoo(root):
        return [root]
    return [Section([entry]) for entry in root.entries]


def _settings(scope: Section, algorithm: str | None) -> Iterator[Setting]:
    for path, section, entry, named in _walk(scope):
        name = _NAMES.get(entry.key, entry.key)
        if name not in KNOWN or not isinstance(entry.value, Scalar):
            continue
        if name in RANGED and _is_elsewhere(path):
            continue
        setting = Setting(name, path, named or algorithm, section, entry, entry.value)
        if setting.written is None and not setting.is_null:
            continue  # an expression, or a name: somebody else's business
        if setting.algorithm is None and name in RANGED:
            continue  # other programs have a gamma and a tau, too
        if setting.algorithm is None:
            raise SacdoctorError(
                "it does not say which algorithm it is for: name one with --algorithm"
            )
        yield setting


def _is_elsewhere(path: str) -> bool:
    return any(_ELSEWHERE.fullmatch(re.sub(r"\[\d+\]", "", part)) for part in path.split(".")[:-1])


def _walk(scope: Section) -> Iterator[tuple[str, Section, Entry, str | None]]:
    """Yield each entry below, in the file's order: its path, its section, the entry, and the
    algorithm that is named above it.

    What an alias repeats is met again only where another algorithm is named.
    """
    met: set[tuple[int, str | None]] = set()
    waiting = _below("", scope, None)
    while waiting:
        path, section, entry, algorithm = waiting.pop()
        if section is not None:
            yield path, section, entry, algorithm
            algorithm = algorithm_named(entry.key) or algorithm
        if not isinstance(entry.value, Scalar) and (id(entry.value), algorithm) not in met:
            met.add((id(entry.value), algorithm))
            waiting += _below(path, entry.value, algorithm)


def _below(path: str, value: Section | list[Value], algorithm: str | None) -> list[_Waiting]:
    """Return what is in a section, or in a list, whose items belong to none; last one first."""
    found: list[_Waiting]
    if isinstance(value, list):
        items = enumerate(value)
        found = [(f"{path}[{n}]", None, Entry("", item), algorithm) for n, item in items]
        return found[::-1]
    for key in _ALGORITHM_KEYS:
        name = value.get(key)
        if isinstance(name, Scalar):
            algorithm = algorithm_named(str(name.value)) or algorithm
    prefix = f"{path}." if path else ""
    found = [(prefix + entry.key, value, entry, algorithm) for entry in value.entries]
    return found[::-1]


def _warmup(settings: list[Setting]) -> float:
    """Return the longest forced warm-up, as it will be once it is corrected; 0: there is none."""
    steps = [0.0]
    for setting in settings:
        if setting.name == "no_trading_warmup_steps" and setting.written is not None:
            verdict = judge_warmup_steps(setting.written.number)
            steps.append(verdict.recommended or 0.0 if verdict else setting.written.number)
    return max(steps)


def _judge(setting: Setting, warmup: float, language: Language, found: Corrections) -> None:
    verdict = _verdict(setting, warmup)
    if verdict is None or not verdict.must_change:
        return
    text = _corrected(verdict, setting.scalar, language)
    before = "null" if setting.is_null else setting.scalar.text
    found.changes.append(Change(setting.path, before, text, verdict))
    found.edits.append(Edit(setting.section, setting.entry, text, before))


def _verdict(setting: Setting, warmup: float) -> Verdict | None:
    number = setting.written.number if setting.written is not None else None
    if setting.name == "max_grad_norm":
        return judge_max_grad_norm(setting.algorithm, number)
    if setting.name == "clip_grad_value":
        return judge_clip_grad_value(number)
    if setting.name == "learning_starts":
        return judge_learning_starts(setting.algorithm, number, warmup)
    if number is None:
        return None
    if setting.name == "no_trading_warmup_steps":
        return judge_warmup_steps(number)
    if setting.name in RANGED:
        return _ranged(setting)
    assert setting.algorithm is not None
    return judge_learning_rate(setting.algorithm, number)


def _ranged(setting: Setting) -> Verdict | None:
    """Judge a setting beside those that stand in its section."""
    assert setting.algorithm is not None
    values = {
        entry.key: written.number
        for entry in setting.section.entries
        if entry.key in RANGED_WITH and isinstance(entry.value, Scalar)
        if not isinstance(entry.value.value, bool)
        if (written := read_number(entry.value.text)) is not None and isfinite(written.number)
    }
    verdicts = judge_ranged(setting.algorithm, values)
    return next((verdict for verdict in verdicts if verdict.key == setting.name), None)


def _corrected(verdict: Verdict, scalar: Scalar, language: Language) -> str | None:
    if verdict.recommended is None:
        return None
    if verdict.key in ("no_trading_warmup_steps", "learning_starts", *WHOLE):
        return write_count(ceil(verdict.recommended), scalar.text)
    # Without a dot, YAML 1.1 (PyYAML, and so rl-zoo) would read 1e-4 as text.
    dotted = language is Language.YAML and not scalar.tagged
    return write_number(verdict.recommended, scalar.text, dotted=dotted)


def _add_learning_starts(settings: list[Setting], warmup: float, found: Corrections) -> None:
    """Set the missing `learning_starts` where SB3's default lies within a warm-up.

    It goes where the learning rate stands, which is what the constructor gets; the warm-up may
    stand among the environment's arguments, where it would be rejected.
    """
    rates = [setting for setting in settings if setting.name == "learning_rate"]
    warmups = [setting for setting in settings if setting.name == "no_trading_warmup_steps"]
    for anchor in (rates or warmups)[:1]:
        verdict = judge_learning_starts(anchor.algorithm, None, warmup)
        if verdict is None:
            continue
        path = anchor.path.removesuffix(anchor.entry.key) + verdict.key
        text = write_count(ceil(verdict.recommended or 0))
        found.changes.append(Change(path, None, text, verdict))
        found.edits.append(Edit(anchor.section, anchor.entry, text, "", added=verdict.key))
