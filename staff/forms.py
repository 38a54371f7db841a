"""Forms around the second factor."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy


class CodeForm(forms.Form):
    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=40,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autofocus": True,
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )


class SetUpForm(CodeForm):
    """The secret goes to and fro encrypted, for this user alone: nothing is stored before the app shows its codes."""

    sealed = forms.CharField(widget=forms.HiddenInput)
