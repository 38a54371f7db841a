"""What of ours depends on a participant; see participants.dependence."""

from __future__ import annotations

from django.utils.translation import gettext as _

from participants import dependence
from participants.models import Participant
from updates.models import Target


@dependence.ask
def under_way(participant: Participant) -> str:
    """A release that it is installing."""
    target = Target.objects.under_way().filter(participant=participant).select_related("rollout__release").first()
    return _("it is installing %(release)s") % {"release": target.rollout.release.version} if target else ""
