"""Settings in, corrected settings out: from a file, from a checkpoint, or from nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import ModuleType

from msgspec.structs import replace

from sacdoctor.algorithms import ALGORITHMS, TRAINED_VARIABLES, algorithm_in, algorithm_named
from sacdoctor.checkpoint import Checkpoint, Hyperparameters
from sacdoctor.checkpoint.formats import ENDINGS as CHECKPOINT_ENDINGS
from sacdoctor.errors import SacdoctorError, unopened
from sacdoctor.printable import escaped
from sacdoctor.settings import json_document, toml_document, yaml_document
from sacdoctor.settings.corrections import (
    Change,
    Corrections,
    algorithm_told,
    find_corrections,
    is_zoo,
)
from sacdoctor.settings.document import Edit, Language, Notes, Section, as_dict, refuse_depth
from sacdoctor.settings.judged_ranges import RANGED, RANGED_WITH, as_whole, judge_ranged
from sacdoctor.settings.kept import kept_of_checkpoint, kept_of_file
from sacdoctor.settings.numbers import spelled
from sacdoctor.settings.recommended import Settings, recommended
from sacdoctor.settings.render import convert, render_settings, render_zoo
from sacdoctor.settings.snippet import python_snippet
from sacdoctor.settings.verdicts import (
    Verdict,
    judge_learning_rate,
    judge_learning_starts,
    judge_max_grad_norm,
    judge_warmup_steps,
)

MAX_SIZE = 1 << 18
"""Bytes of a settings file. rl-zoo's largest holds 16 KB, and ruamel.yaml reads 200 KB a second."""

_ENDINGS = {
    ".yaml": Language.YAML,
    ".yml": Language.YAML,
    ".json": Language.JSON,
    ".toml": Language.TOML,
}
_MODULES: dict[Language, ModuleType] = {
    Language.YAML: yaml_document,
    Language.JSON: json_document,
    Language.TOML: toml_document,
}
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class FixedConfig:
    """Corrected settings, and what was changed to get there.

    A file has its `language`, its corrected `text` (nothing else in it differs), the same text
    with a comment on each changed line (`noted`), and what is in it; otherwise `settings` hold.
    """

    changes: tuple[Change, ...]
    settings: Settings | None = None
    language: Language | None = None
    text: str = field(default="", repr=False)
    noted: str = field(default="", repr=False)
    root: Section | None = field(default=None, repr=False)
    corrected: Corrections | None = field(default=None, repr=False)

    def as_text(self, language: Language | None = None) -> str:
        """Return the settings in a language; None is the file's own, or YAML without a file.

        Raises `SacdoctorError` where the language cannot hold them.
        """
        if self.root is None:
            return render_settings(self._one_set(), language or Language.YAML)
        if language in (None, self.language):
            return self._shown()
        text = convert(as_dict(self.root), language or Language.YAML)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise SacdoctorError("a text in it escapes half of a character") from None
        return text

    def as_zoo(self) -> str:
        """Return a section of an rl-zoo file; a whole rl-zoo file stays one.

        Raises `SacdoctorError` where the file holds several sets of settings.
        """
        if self.root is not None and self.language is Language.YAML and is_zoo(self.root):
            return self._shown()
        return render_zoo(self._one_set())

    def as_python(self) -> str:
        """Return a training script; raises `SacdoctorError` as `as_zoo` does."""
        return python_snippet(self._one_set())

    def _shown(self) -> str:
        """Return the corrected file with no character in it that a terminal or an editor obeys.

        Raises `SacdoctorError` where one stands in a text that knows no escapes.
        """
        text = escaped(self.noted)
        if text != self.noted:
            assert self.root is not None and self.language is not None
            read = _MODULES[self.language].read
            if repr(as_dict(read(text))) != repr(as_dict(self.root)):  # NaN is not equal to NaN
                raise SacdoctorError(
                    "a text in it holds control characters, or such as turn its direction: put it "
                    "in double quotes, and write them as \\uXXXX"
                )
        return text

    def _one_set(self) -> Settings:
        if self.settings is not None:
            return self.settings
        assert self.corrected is not None
        settings = _settings(self.corrected, self.changes)
        if self.root is None:
            return settings
        kept = kept_of_file(as_dict(self.root), ALGORITHMS[settings.algorithm])
        return replace(settings, kept=kept)


def fix_config(
    source: str | Path | None = None,
    *,
    algorithm: str | None = None,
    warmup_steps: int | None = None,
) -> FixedConfig:
    """Return corrected settings from a checkpoint or a YAML, JSON or TOML file.

    Without a `source` they are the recommended ones, for SAC if no `algorithm` is given.
    `warmup_steps` is how long the environment of a checkpoint forces actions, which it does not
    say itself. Nothing is written. Raises `SacdoctorError` with the path.
    """
    name = _known(algorithm)
    if source is None:
        return FixedConfig((), settings=recommended(name or "SAC"))
    path = Path(source)
    try:
        if path.suffix.lower() in CHECKPOINT_ENDINGS:
            return _fix_checkpoint(path, name, warmup_steps)
        data = _read(path)
        if data.startswith(b"PK\x03\x04"):
            return _fix_checkpoint(path, name, warmup_steps)
        language = _ENDINGS.get(path.suffix.lower())
        return fix_text(data, language=language, algorithm=name, stem=path.stem)
    except SacdoctorError as error:
        raise error.at(path) from None


def fix_text(
    data: bytes,
    *,
    language: Language | None = None,
    algorithm: str | None = None,
    stem: str = "",
) -> FixedConfig:
    """Return the corrected settings in the bytes of a file.

    `language` None is found out. The algorithm is the one given, else the one that the settings
    name, else the one that the file is named after (`stem`). Raises `SacdoctorError`.
    """
    text = _decoded(data)
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    language, root = _parsed(text, language)
    refuse_depth(root)
    named = _known(algorithm) or algorithm_told(root) or algorithm_in(stem)
    found = find_corrections(root, language, named)
    if not found.edits:
        return FixedConfig(
            (), language=language, text=mark + text, noted=text, root=root, corrected=found
        )
    module = _MODULES[language]
    fixed: str = module.write(text, found.edits, Notes.NONE)
    again = module.read(fixed)
    corrected = find_corrections(again, language, named)
    if corrected.changes:
        key = corrected.changes[0].key
        raise SacdoctorError(f"{key} cannot be corrected where it stands: change it by hand")
    return FixedConfig(
        tuple(found.changes),
        language=language,
        text=mark + fixed,
        noted=_noted(module, text, found.edits, as_dict(again)) or fixed,
        root=again,
        corrected=corrected,
    )


def _noted(module: ModuleType, text: str, edits: list[Edit], said: dict[str, object]) -> str | None:
    """Return the corrected text with comments, None where they would change what is `said`.

    The end of a line may lie inside of a quoted text, where a comment is none.
    """
    for notes in (Notes.ON_LINES, Notes.ON_TOP):
        noted: str = module.write(text, edits, notes)
        with suppress(SacdoctorError):
            if as_dict(module.read(noted)) == said:
                return noted
    return None


def _known(algorithm: str | None) -> str | None:
    if algorithm is None:
        return None
    name = algorithm_named(algorithm)
    if name is None:
        known = ", ".join(ALGORITHMS)
        raise SacdoctorError(f"unknown algorithm {algorithm!r}: there are {known}")
    return name


def _read(path: Path) -> bytes:
    try:
        # A pipe without a writer would block; a regular file does not care.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise SacdoctorError("it is a folder")
            if not stat.S_ISREG(mode):
                raise SacdoctorError("it is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_SIZE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unopened(error) from None


def _decoded(data: bytes) -> str:
    if len(data) > MAX_SIZE:
        raise SacdoctorError(f"it is larger than any settings file ({MAX_SIZE >> 10} KiB)")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SacdoctorError("it is neither text in UTF-8 nor a checkpoint")
    return text


def _parsed(text: str, language: Language | None) -> tuple[Language, Section]:
    if language is not None:
        return language, _MODULES[language].read(text)
    # Few texts are valid in more than one language, and those hold no settings.
    for candidate in (Language.JSON, Language.TOML):
        try:
            return candidate, _MODULES[candidate].read(text)
        except SacdoctorError:
            continue
    return Language.YAML, yaml_document.read(text)


# -- checkpoints -------------------------------------------------------------------------------


def _fix_checkpoint(path: Path, algorithm: str | None, warmup: int | None) -> FixedConfig:
    with Checkpoint(path) as checkpoint:
        checkpoint.refuse_foreign()
        if not checkpoint.container.has_settings:
            raise SacdoctorError(f"it is {checkpoint.container.name}, which holds no settings")
        name = algorithm or checkpoint.algorithm
        if name is None:
            raise SacdoctorError(
                "it does not tell which algorithm saved it: name one with --algorithm"
            )
        saved = checkpoint.hyperparameters
        rate, norm = _rate(saved), saved.number("max_grad_norm")
        starts, judged = saved.integer("learning_starts"), list(_judged(checkpoint, name))
        kept = kept_of_checkpoint(checkpoint, ALGORITHMS[name])
    if warmup is not None:
        judged += _judged_warmup(name, starts, warmup)
    changes = tuple(
        Change(verdict.key, before, spelled(verdict.recommended or 0.0), verdict)
        for before, verdict in judged
        if verdict is not None and verdict.must_change
    )
    values = {change.key: change.verdict.recommended for change in changes}
    settings = Settings(
        algorithm=name,
        learning_rate=values.get("learning_rate", rate),
        # Where the constructor takes none, what the checkpoint says is nobody's setting.
        max_grad_norm=values.get(
            "max_grad_norm",
            norm if ALGORITHMS[name].clips else recommended(name).max_grad_norm,
        ),
        no_trading_warmup_steps=_count(values.get("no_trading_warmup_steps", warmup)),
        learning_starts=_count(values.get("learning_starts", starts)),
        was={change.key: change.before or "" for change in changes},
        others={key: as_whole(key, values[key] or 0.0) for key in RANGED if key in values},
        kept=kept,
    )
    return FixedConfig(changes, settings=settings)


def _judged_warmup(
    name: str, starts: int | None, warmup: int
) -> Iterator[tuple[str, Verdict | None]]:
    """Yield what is wrong with a warm-up, and with updates that begin before its corrected end."""
    verdict = judge_warmup_steps(warmup)
    yield spelled(warmup), verdict
    end = warmup if verdict is None else verdict.recommended or 0
    yield "not set" if starts is None else spelled(starts), judge_learning_starts(name, starts, end)


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)


def _judged(checkpoint: Checkpoint, name: str) -> Iterator[tuple[str, Verdict | None]]:
    """Yield what the checkpoint says of each setting, and what is wrong with it."""
    saved = checkpoint.hyperparameters
    rate, norm, applied = _rate(saved), saved.number("max_grad_norm"), _applied_rate(checkpoint)
    if rate is not None:
        yield spelled(rate), judge_learning_rate(name, rate)
    elif applied is not None:
        yield f"a schedule at {spelled(applied)}", _too_high(name, applied)
    if ALGORITHMS[name].clips and "max_grad_norm" in saved:
        yield "null" if norm is None else spelled(norm), judge_max_grad_norm(name, norm)
    numbers = {key: saved.number(key) for key in RANGED_WITH}
    known = {key: number for key, number in numbers.items() if number is not None}
    for verdict in judge_ranged(name, known):
        yield spelled(known[verdict.key]), verdict


def _rate(saved: Hyperparameters) -> float | None:
    """Return the configured rate, None where it is a schedule or was left out.

    0.0 is what rl-zoo's enjoy.py puts in place of a schedule that it does not unpickle; such
    models were saved again and uploaded. Nobody trains with it.
    """
    return saved.number("learning_rate") or None


def _applied_rate(checkpoint: Checkpoint) -> float | None:
    """Return the largest rate in the networks' optimizers; the entropy's is not of a network."""
    rates = [
        state.learning_rate
        for name, state in checkpoint.optimizers.items()
        if name not in TRAINED_VARIABLES and state.learning_rate is not None
    ]
    return max(rates, default=None)


def _too_high(algorithm: str, applied: float) -> Verdict | None:
    """Judge the rate that a schedule has come to: it began there or higher, so low says nothing."""
    verdict = judge_learning_rate(algorithm, applied)
    return verdict if verdict is not None and applied > (verdict.high or 0.0) else None


# -- one set of settings -----------------------------------------------------------------------


def _settings(corrected: Corrections, changes: tuple[Change, ...]) -> Settings:
    """Return the settings of a corrected file as one set, completed by the recommended ones.

    Raises `SacdoctorError` where the file holds several sets.
    """
    algorithm = corrected.algorithm()
    if algorithm is None:
        reason = "several algorithms" if corrected.settings else "none of the known settings"
        raise SacdoctorError(f"it holds {reason}: use --format yaml, json or toml")
    values: dict[str, tuple[float | None, bool]] = {}
    for setting in corrected.settings:
        if setting.name in RANGED:
            continue
        written = setting.written
        value = (written.number, written.linear) if written is not None else (None, False)
        if values.setdefault(setting.name, value) != value:
            raise SacdoctorError(
                f"it sets {setting.name} in several places to different values: "
                "use --format yaml, json or toml"
            )
    advised = recommended(algorithm)
    rate, linear = values.get("learning_rate", (advised.learning_rate, False))
    norm, _ = values.get("max_grad_norm", (advised.max_grad_norm, False))
    warmup, _ = values.get("no_trading_warmup_steps", (None, False))
    starts, _ = values.get("learning_starts", (None, False))
    return Settings(
        algorithm=algorithm,
        learning_rate=rate,
        linear=linear,
        max_grad_norm=norm,
        no_trading_warmup_steps=_whole("no_trading_warmup_steps", warmup),
        learning_starts=_whole("learning_starts", starts),
        was={change.verdict.key: change.before for change in changes if change.before is not None},
    )


def _whole(key: str, number: float | None) -> int | None:
    if number is None:
        return None
    if not isfinite(number):
        raise SacdoctorError(f"its {key} is {number}, which no number of steps is")
    return int(number)
