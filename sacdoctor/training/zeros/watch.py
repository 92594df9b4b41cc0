"""Looks at a live model again and again while it trains, and repairs what died in it.

It knows no SB3: `ZeroWeightsPreventionCallback` calls it from SB3's events, a loop of one's own
whenever it likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch as th
from msgspec.structs import replace

from sacdoctor.model import Finding
from sacdoctor.severity import Thresholds
from sacdoctor.training.live import LiveModel
from sacdoctor.training.zeros import messages
from sacdoctor.training.zeros.bias_tensors import Counts, count
from sacdoctor.training.zeros.by_rules import found_by_rules
from sacdoctor.training.zeros.checks import Check, DeadBias, zero_biases
from sacdoctor.training.zeros.overwritten import Overwritten
from sacdoctor.training.zeros.repair import Refit, repair
from sacdoctor.training.zeros.silent import SilentLayers
from sacdoctor.training.zeros.targets import StandingTargets
from sacdoctor.training.zeros.untouched import Untouched

Dead = list[tuple[DeadBias, th.Tensor]]


class ModelWatch:
    """Checks a model's parameters, tells what is new, and repairs dead biases.

    What is zero when the watch is made, and never was anything else, is left alone.

    :param model: returns the model as it is now: `lambda: LiveModel.of(sb3_model)`, or
        `lambda: LiveModel.of_modules(modules, optimizers)`; asked again when layers came or went
    :param auto_fix: re-draw the exact zeros in biases at warning or worse, clear their moments in
        the optimizers, and bring dead target networks in step
    :param thresholds: percentages of zeros in a bias above which a severity begins
    :param seed: of the draws, which depend on it and the tensor's name alone
    :param settings: returns the algorithm's settings, for the rules that read them: SB3's by
        `Settings(model)`
    :param refit: is asked for the values of dead elements before any are drawn

    `history` has all checks, `repairs` how often each bias was repaired.
    """

    def __init__(
        self,
        model: Callable[[], LiveModel],
        *,
        auto_fix: bool = True,
        thresholds: Thresholds | None = None,
        seed: int = 0,
        settings: Callable[[], Mapping[str, Any]] = dict,
        refit: Refit | None = None,
    ) -> None:
        self._model = model
        self._settings = settings
        self._refit = refit
        self.live = model()
        self.auto_fix = auto_fix
        self.thresholds = thresholds or Thresholds()
        self.seed = seed
        self.history: list[Check] = []
        self.repairs: Counter[str] = Counter()
        self.elements_repaired = 0
        self._untouched = Untouched()
        self._untouched.look(self.live)
        self._silent = SilentLayers()
        self._targets = StandingTargets()
        self._overwritten = Overwritten()
        self._overwritten.remember(self.live)
        self._outcomes: dict[str, messages.Outcome] = {}
        self._as_made_told: set[str] = set()
        self._missing_told = set(self.live.missing())
        self._rules_told: dict[str, set[str]] = {}
        self._non_finite: tuple[str, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """All that was found so far, each once."""
        return [finding for check in self.history for finding in check.findings]

    def check(self, num_timesteps: int) -> Check:
        """Look at all parameters now, repair what is to be repaired, and return what was found.

        `num_timesteps` are the environment steps so far.
        """
        self.refresh()
        live = self.live
        self._untouched.look(live)
        overwritten = [*self._overwritten.look(live)]
        counts = count(live.parameters, list(live.biases), live.roles)
        zeros = list(zero_biases(live, counts, self.thresholds, self._untouched))
        dead = [(bias, elements) for bias, elements in zeros if elements is not None]
        as_made = [bias for bias, elements in zeros if elements is None]
        check = self._repaired(num_timesteps, counts, dead)
        self._forget_the_living(counts)
        self._overwritten.remember(live)
        check = self._with_findings(check, as_made, overwritten)
        self.history.append(check)
        return check

    def refresh(self) -> None:
        """Take the model's parts anew where layers, or parameters of optimizers, came or went."""
        if not self.live.is_complete:
            self.live = self._model()

    def _repaired(self, num_timesteps: int, counts: Counts, dead: Dead) -> Check:
        live = self.live
        wanted = dead if self.auto_fix else ()
        repaired, left = repair(live, wanted, self.repairs, self.seed, self._refit)
        self.repairs.update(done.name for done in repaired)
        self.elements_repaired += sum(done.elements for done in repaired)
        elements = sum(bias.numel() for bias in live.biases.values())
        return Check(
            num_timesteps=num_timesteps,
            n_updates=live.n_updates,
            updated=live.was_updated,
            zero_percent=100.0 * sum(counts.zeros.values()) / max(1, elements),
            biases=len(counts.zeros),
            dead=tuple(bias for bias, _ in dead),
            repaired=repaired,
            left=left,
            non_finite=counts.non_finite,
        )

    def _with_findings(
        self, check: Check, as_made: list[DeadBias], overwritten: list[Finding]
    ) -> Check:
        found = [
            *self._non_finite_news(check),
            *self._missing_news(),
            *self._dead_news(check),
            *self._other_news(check, overwritten),
            *self._as_made_news(as_made),
        ]
        found.sort(key=lambda finding: -finding.severity.rank)
        return replace(check, findings=tuple(found))

    def _non_finite_news(self, check: Check) -> Iterator[Finding]:
        if check.non_finite and not self._non_finite:
            yield messages.non_finite(check.non_finite)
        self._non_finite = check.non_finite

    def _missing_news(self) -> Iterator[Finding]:
        """Yield a finding on layers that were made since the last check and are in no optimizer."""
        news = [name for name in self.live.missing() if name not in self._missing_told]
        if news:
            self._missing_told.update(news)
            yield messages.made_late(self.live, news)

    def _dead_news(self, check: Check) -> Iterator[Finding]:
        outcomes = messages.outcomes(check, self.auto_fix)
        yield from messages.dead(check, outcomes, self._outcomes)
        self._outcomes = outcomes

    def _as_made_news(self, as_made: list[DeadBias]) -> Iterator[Finding]:
        news = [bias for bias in as_made if bias.name not in self._as_made_told]
        if news:
            self._as_made_told.update(bias.name for bias in news)
            yield messages.as_made(news)

    def _other_news(self, check: Check, overwritten: list[Finding]) -> Iterator[Finding]:
        """Yield what else is wrong, but for what follows from a finding of this check.

        NaN makes everything else meaningless; a layer whose bias was named dead is not named twice.
        """
        if check.non_finite:
            return
        dead = {self.live.roles[bias.name].layer for bias in check.dead}
        named = {bias.name for bias in check.dead}
        yield from (finding for finding in overwritten if not named.issuperset(finding.tensors))
        found = [
            *self._silent.look(self.live, dead),
            *self._targets.look(self.live, check.num_timesteps),
            *found_by_rules(self.live, self._settings()),
        ]
        for finding in found:
            told = self._rules_told.setdefault(finding.rule, set())
            if not told or not told.issuperset(finding.tensors):
                told.update(finding.tensors or (finding.rule,))
                yield finding

    def _forget_the_living(self, counts: Counts) -> None:
        for name, zeros in counts.zeros.items():
            if not zeros:
                self._untouched.forget(self.live.parameters[name])
