"""Many checkpoints: where they are, here or at addresses, and who looks at them."""

from sacdoctor.fleet.address import Address, is_address, path_here, without_credentials
from sacdoctor.fleet.copying import Copies, copies
from sacdoctor.fleet.executors import reports_on
from sacdoctor.fleet.found import find_checkpoints
from sacdoctor.fleet.look import Look, Target, report_on_copy
from sacdoctor.fleet.patience import MOST_BYTES, Patience

__all__ = [
    "MOST_BYTES",
    "Address",
    "Copies",
    "Look",
    "Patience",
    "Target",
    "copies",
    "find_checkpoints",
    "is_address",
    "path_here",
    "report_on_copy",
    "reports_on",
    "without_credentials",
]
