"""Many checkpoints: where they are, here or at addresses, and who looks at them."""

from sacdoctor.fleet.address import Address, is_address, without_credentials
from sacdoctor.fleet.executors import reports_on
from sacdoctor.fleet.found import find_checkpoints
from sacdoctor.fleet.look import Look, Target, brought_here, report_on_copy
from sacdoctor.fleet.patience import MOST_BYTES, Patience

__all__ = [
    "MOST_BYTES",
    "Address",
    "Look",
    "Patience",
    "Target",
    "brought_here",
    "find_checkpoints",
    "is_address",
    "report_on_copy",
    "reports_on",
    "without_credentials",
]
