"""One look at a whole run: everything that lies in a folder, and each fault in it once."""

from sacdoctor.checkup.look import check_up, timeline
from sacdoctor.checkup.model import Checkup, Concern, Happening

__all__ = ["Checkup", "Concern", "Happening", "check_up", "timeline"]
