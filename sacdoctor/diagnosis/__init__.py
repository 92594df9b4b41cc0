"""Zero statistics, causes, rules and the report of a checkpoint; `scan` puts them together."""

from sacdoctor.diagnosis.activity_facts import (
    DORMANT,
    LEFT_OUT,
    NEAR,
    NEARLY_ALL,
    ActionActivity,
    Activity,
    LayerActivity,
    NetworkActivity,
    ValueActivity,
)
from sacdoctor.diagnosis.causes import OUTLAST_REPAIR, Attribution
from sacdoctor.diagnosis.completion import Completion, completions, loading_call
from sacdoctor.diagnosis.coverage import Coverage, Slot
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import LEAST_UPDATES, decayed_start
from sacdoctor.diagnosis.log_facts import COEFFICIENT, LogFacts, LoggedRow, Points
from sacdoctor.diagnosis.normalisation import Normalised, normalised
from sacdoctor.diagnosis.pickled_settings import largest_rate
from sacdoctor.diagnosis.policy_settings import observations
from sacdoctor.diagnosis.returns import LEVEL, SPREADS, STANDARD_ERRORS, WINDOW, least_spread
from sacdoctor.diagnosis.run_facts import Jump, Leap, Moment, RunFacts, Still, Stored
from sacdoctor.diagnosis.scan import (
    examined,
    looks_at_code_alone,
    report_of,
    report_of_error,
    report_on,
    scan,
    status_of,
)
from sacdoctor.diagnosis.statistics import (
    as_floats,
    as_numbers,
    chunks,
    has_floats,
    pieces,
    zero_positions,
)
from sacdoctor.diagnosis.vec_normalize import (
    Statistics,
    may_be_statistics,
    names_of_statistics,
    read_statistics,
    statistics_beside,
)
from sacdoctor.diagnosis.wording import biases
from sacdoctor.diagnosis.wrapped import needless_wrappers

__all__ = [
    "COEFFICIENT",
    "DORMANT",
    "LEAST_UPDATES",
    "LEFT_OUT",
    "LEVEL",
    "NEAR",
    "NEARLY_ALL",
    "OUTLAST_REPAIR",
    "SPREADS",
    "STANDARD_ERRORS",
    "WINDOW",
    "ActionActivity",
    "Activity",
    "Attribution",
    "Completion",
    "Coverage",
    "Examination",
    "Facts",
    "Jump",
    "LayerActivity",
    "Leap",
    "LogFacts",
    "LoggedRow",
    "Moment",
    "NetworkActivity",
    "Normalised",
    "Points",
    "RunFacts",
    "Slot",
    "Statistics",
    "Still",
    "Stored",
    "ValueActivity",
    "as_floats",
    "as_numbers",
    "biases",
    "chunks",
    "completions",
    "decayed_start",
    "examined",
    "has_floats",
    "largest_rate",
    "least_spread",
    "loading_call",
    "looks_at_code_alone",
    "may_be_statistics",
    "names_of_statistics",
    "needless_wrappers",
    "normalised",
    "observations",
    "pieces",
    "read_statistics",
    "report_of",
    "report_of_error",
    "report_on",
    "scan",
    "statistics_beside",
    "status_of",
    "zero_positions",
]
