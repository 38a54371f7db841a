"""Keys as somebody has written them, in an address or in a form: what can be none is nobody's.

Django asks the database for some of them as they are; it then fails, where its column cannot hold them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError


def may_be_key(model: Any, said: object) -> bool:
    """Can a row of the model have that key?"""
    field = model._meta.pk
    while field.remote_field:
        field = field.target_field
    try:
        field.run_validators(field.to_python(said))
    except ValidationError:
        return False
    return True


class _OfKeys(widgets.AutocompleteMixin):
    def optgroups(self, name: str, value: Iterable[Any], attr: Any = None) -> Any:
        model = self.field.remote_field.model
        chosen = [each for each in value if each in self.choices.field.empty_values or may_be_key(model, each)]
        return super().optgroups(name, chosen, attr)


class AutocompleteSelect(_OfKeys, widgets.AutocompleteSelect):
    """Django's, which fails at showing again what was no key."""


class AutocompleteSelectMultiple(_OfKeys, widgets.AutocompleteSelectMultiple):
    """The same for several."""


class ModelMultipleChoiceField(forms.ModelMultipleChoiceField):
    """Django's, which looks for each choice by its key."""

    def clean(self, value: Any) -> Any:
        for each in value if isinstance(value, (list, tuple)) else ():
            if not may_be_key(self.queryset.model, each):  # type: ignore[union-attr]
                raise ValidationError(
                    self.error_messages["invalid_pk_value"], code="invalid_pk_value", params={"pk": str(each)[:50]}
                )
        return super().clean(value)
