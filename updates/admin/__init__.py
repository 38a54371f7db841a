"""Releases and rollouts in Django admin. Every change goes through the capability modules, and leaves a Change."""

from updates.admin import releases, rollouts

__all__ = ["releases", "rollouts"]
