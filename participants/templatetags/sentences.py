"""`{{ row.reason|said }}`: what a row keeps, in the language of the page."""

from __future__ import annotations

from django import template

from dmr_project.lib.sentences import shown

register = template.Library()


@register.filter
def said(text: str | None) -> str:
    return shown(text or "")
