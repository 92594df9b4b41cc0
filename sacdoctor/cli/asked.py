"""What holds for a verb: what the command line says, and a settings file about all else.

Whoever wrote the nearest settings file need not be who gives the command: what one has cloned or
downloaded may bring its own. So it is said what it changes about a verdict, and it cannot keep
from being named what loading a file would run. The command line can, and a file named there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.cli.config import Config, find_config, read_config
from sacdoctor.cli.outcome import FINDINGS, FailOn, complain, exit_code
from sacdoctor.errors import SacdoctorError
from sacdoctor.options import ScanOptions
from sacdoctor.printable import escaped
from sacdoctor.report.results import Configuration, Judge
from sacdoctor.severity import Status, Thresholds

if TYPE_CHECKING:
    from sacdoctor.diagnosis.rules import Rule
    from sacdoctor.model import Finding

LOOKS = ("warning", "critical", "include", "exclude", "select", "ignore", "trust")
"""The settings that say how to look, and what at."""
FAIL_ON = "fail-on"

_STRICTER = (FailOn.NEVER, FailOn.CRITICAL, FailOn.WARNING)
_MOST_SAID = 300
"""Characters of settings that the line about their file has room for."""


class Asked(Struct, frozen=True):
    """How to look, and from which status on a verb fails.

    `fail_on_code` is the same for findings about what loading a file would run. `configuration` is
    what a settings file changes about a verdict, None where it changes nothing.
    """

    options: ScanOptions
    fail_on: FailOn
    fail_on_code: FailOn
    configuration: Configuration | None

    def fails(self, finding: Finding) -> bool:
        """Return whether this finding alone would make a verb exit with 1."""
        status = {Status.of([finding.severity])}
        if not finding.in_passing and exit_code(status, self.fail_on) == FINDINGS:
            return True
        return self.exit_code(set(), [finding]) == FINDINGS

    def judge(self, baseline: Path | None = None) -> Judge:
        """Return which findings count, where a file of known ones is given without those.

        Raises `SacdoctorError` where that file cannot be read.
        """
        if baseline is None:
            return Judge(self.fails)
        from sacdoctor.report.baseline import read_baseline

        return Judge(self.fails, read_baseline(baseline))

    def exit_code(self, statuses: set[Status], found: Iterable[Finding]) -> int:
        """Return the exit code where these statuses and findings came out."""
        code = exit_code(statuses, self.fail_on)
        if self.fail_on_code is self.fail_on:
            return code
        from sacdoctor.diagnosis.rules import rule_of

        about_code = {Status.of([one.severity]) for one in found if _is_about_code(rule_of(one))}
        return max(code, exit_code(about_code, self.fail_on_code))


def asked_for(
    given: Config,
    named: Path | None,
    *,
    heeds: Sequence[str] = (*LOOKS, FAIL_ON),
    show: bool = False,
) -> Asked:
    """Return what holds where the options are `given`, and say on stderr what a file changes.

    The settings file is the one `named`, or the nearest (see `find_config`). `heeds` are the
    settings that the verb goes by. Codes and names of rules may stand in one text, separated by
    commas.

    With `show` they are written to stdout, and that is all: `typer.Exit` ends the command.

    Raises `SacdoctorError` for a settings file that cannot be read, thresholds that make no sense
    and rules that do not exist.
    """
    file = find_config() if named is None else read_config(named)
    try:
        given, file = _spelled(given), _spelled(file)
        asked = _asked(given, file, heeds)
    except ValueError as error:
        raise SacdoctorError(str(error)) from None
    if show:
        sys.stdout.write(escaped(_shown(asked, given, file, heeds)))
        raise typer.Exit
    if asked.configuration is not None:
        complain(_line(asked.configuration))
    return asked


def _asked(given: Config, file: Config, heeds: Sequence[str]) -> Asked:
    limits = {
        name: value
        for name in ("warning", "critical")
        for value in (getattr(given, name), getattr(file, name))[::-1]
        if value is not None
    }
    fail_on = given.fail_on or file.fail_on or FailOn.CRITICAL
    held = _held(given, file)
    options = ScanOptions(
        thresholds=Thresholds(**limits),
        include=given.include or file.include,
        exclude=given.exclude or file.exclude,
        components=file.components,
        select=_with(held, given.select or file.select),
        ignore=_without(held, given.ignore or file.ignore),
        trusted=(*given.trust, *(file.trust if file.is_named else ())),
    )
    known = given.fail_on or (file.fail_on if file.is_named else None)
    default = _default_for_code(options)
    fail_on_code = known or max(file.fail_on or default, default, key=_STRICTER.index)
    silences = fail_on_code is not fail_on and file.fail_on is not None
    settings = {key: value for key, value in _changes(given, file) if key in heeds}
    if (FAIL_ON in settings and silences) or ("trust" in settings and not file.is_named):
        held = tuple(filter(_is_about_code, _selected(options.select, options.ignore)))
    codes = tuple(rule.code for rule in held)
    changed = Configuration(str(file.path), file.is_named, settings, codes) if settings else None
    return Asked(options, fail_on, fail_on_code, changed)


def _default_for_code(options: ScanOptions) -> FailOn:
    """Return from which status on findings about code fail: all of them, where code alone counts.

    Who asks for nothing else wants to know whether the file is proven harmless.
    """
    from sacdoctor.diagnosis import looks_at_code_alone

    is_gate = bool(options.select) and looks_at_code_alone(options)
    return FailOn.WARNING if is_gate else FailOn.CRITICAL


# -- rules -------------------------------------------------------------------------------------


def _held(given: Config, file: Config) -> tuple[Rule, ...]:
    """Return the rules about code that hold although a file that nobody named leaves them out."""
    if file.is_named or not (file.select or file.ignore):
        return ()
    left = _selected(given.select or file.select, given.ignore or file.ignore)
    asked = _selected(given.select, given.ignore)
    return tuple(rule for rule in asked if _is_about_code(rule) and rule not in left)


def _with(held: tuple[Rule, ...], select: tuple[str, ...]) -> tuple[str, ...]:
    return (*select, *(rule.code for rule in held)) if select else ()


def _without(held: tuple[Rule, ...], ignore: tuple[str, ...]) -> tuple[str, ...]:
    if not held or not ignore:
        return ignore
    return tuple(rule.code for rule in _selected(ignore, ()) if rule not in held)


def _selected(select: tuple[str, ...], ignore: tuple[str, ...]) -> tuple[Rule, ...]:
    from sacdoctor.diagnosis.rules import selected

    return selected(select, ignore)


def _is_about_code(rule: Rule) -> bool:
    from sacdoctor.trust import LoadedCode

    return rule.looks_at(LoadedCode)


def _spelled(config: Config) -> Config:
    """Return it with each rule's code or name apart, and as it is spelled."""
    from sacdoctor.diagnosis.rules import as_spelled

    select, ignore = (
        tuple(
            as_spelled(part.strip()) for text in texts for part in text.split(",") if part.strip()
        )
        for texts in (config.select, config.ignore)
    )
    _selected(select, ignore)
    return replace(config, select=select, ignore=ignore)


# -- what is said of a settings file -----------------------------------------------------------


def _changes(given: Config, file: Config) -> Iterator[tuple[str, Any]]:
    """Yield the settings of the file without which another verdict might come out."""
    default = Thresholds()
    if given.warning is None and file.warning not in (None, default.warning):
        yield "warning", file.warning
    if given.critical is None and file.critical not in (None, default.critical):
        yield "critical", file.critical
    if given.fail_on is None and file.fail_on not in (None, FailOn.CRITICAL):
        yield FAIL_ON, str(file.fail_on)
    if not set(file.trust) <= set(given.trust):
        yield "trust", file.trust
    if file.include and not given.include:
        yield "include", file.include
    if file.exclude and not given.exclude:
        yield "exclude", file.exclude
    select = given.select or file.select
    if _selected(select, given.ignore) != _selected(given.select, given.ignore):
        yield "select", file.select
    if _selected(select, given.ignore or file.ignore) != _selected(select, given.ignore):
        yield "ignore", file.ignore


def _shown(asked: Asked, given: Config, file: Config, heeds: Sequence[str]) -> str:
    """Return the settings that hold as a settings file, with where each is from."""
    options = asked.options
    values: dict[str, Any] = {
        "warning": options.thresholds.warning,
        "critical": options.thresholds.critical,
        "include": options.include,
        "exclude": options.exclude,
        "select": options.select,
        "ignore": options.ignore,
        "trust": options.trusted,
        FAIL_ON: str(asked.fail_on),
    }
    unset = Config()
    lines = [f"# settings file: {file.path or 'none'}"]
    for key, value in values.items():
        name = key.replace("-", "_")
        of_line, of_file = (getattr(one, name) != getattr(unset, name) for one in (given, file))
        place = "the command line" if of_line else str(file.path) if of_file else "default"
        if key in heeds:
            lines.append(f"{key} = {_as_toml(value)}  # {place}")
    lines += [f"# {rule.code} counts whatever {file.path} says" for rule in _held(given, file)]
    if options.components:
        lines.append("\n[components]")
        pairs = options.components.items()
        lines += [f"{_as_toml(pattern)} = {_as_toml(name)}" for pattern, name in pairs]
    return "\n".join(lines) + "\n"


def _line(changed: Configuration) -> str:
    said = ", ".join(f"{key} = {_as_toml(value)}" for key, value in changed.settings.items())
    if len(said) > _MOST_SAID:
        said = f"{said[:_MOST_SAID]} …"
    if changed.held:
        codes = " and ".join(changed.held)
        said += f"; {codes} count all the same: only the command line, or a file named there with "
        said += "--config, leaves them out"
    return f"{changed.path} sets {said}"


def _as_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # TOML's basic strings escape as JSON's
    return f"{value:g}"
