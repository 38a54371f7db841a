"""The application form, as people fill it in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.errors import DomainError
from participants.models import COMPONENTS, Application, Participant

FIELDS = (
    "institution_name", "contact_name", "contact_email", "technical_name", "technical_email",
    "name", "type", "host", "components", "remarks",
)  # fmt: skip


class ApplicationForm(forms.ModelForm):
    """Labels are translated; the rules are the model's, and so the registry's."""

    template_name_div = "join/fields.html"

    components = forms.MultipleChoiceField(
        label=_("Components you expect to run"),
        choices=[(name, name) for name in COMPONENTS],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("As far as you know; leave it empty if you do not."),
    )
    type = forms.ChoiceField(
        label=_("What joins"),
        choices=(
            (Participant.Type.CHATBOT.value, _("a chatbot (Bürokratt's software with everything around it)")),
            (Participant.Type.CLASSIFIER.value, _("a classifier")),
        ),
        widget=forms.RadioSelect,
        initial=Participant.Type.CHATBOT,
    )

    class Meta:
        model = Application
        fields = FIELDS
        labels = {
            "institution_name": _("Institution"),
            "contact_name": _("Contact person"),
            "contact_email": _("Contact person's e-mail"),
            "technical_name": _("Technical contact"),
            "technical_email": _("Technical contact's e-mail"),
            "name": _("Name in the network"),
            "host": _("Endpoint"),
            "remarks": _("Anything else"),
        }
        help_texts = {
            "institution_name": _("The ministry, agency or municipality, in 4 to 50 characters."),
            "contact_email": _("We write here how your application stands."),
            "technical_name": _("Who sets it up. Leave both fields empty if that is the contact person."),
            "technical_email": _("The link to the key goes here."),
            "name": _("Others address it by this name: 4 to 50 letters, digits and signs without õ, ä, ö, ü."),
            "host": _("Full URL to which messages are posted, such as https://bot.example.ee/dmr-api/messages."),
        }
        widgets = {"remarks": forms.Textarea(attrs={"rows": 4, "maxlength": 1000})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, autocomplete in (
            ("institution_name", "organization"), ("contact_name", "name"), ("contact_email", "email"),
        ):  # fmt: skip
            self.fields[name].widget.attrs["autocomplete"] = autocomplete
        for name in ("technical_name", "technical_email"):
            self.fields[name].required = False
        self.fields["host"].widget.attrs.update(inputmode="url", spellcheck="false", autocapitalize="none")
        self.fields["name"].widget.attrs.update(spellcheck="false", autocapitalize="none")

    def validate_constraints(self) -> None:
        """Of what there is already the domain tells better."""

    def refuse(self, error: DomainError) -> None:
        """Puts what the domain said beside the fields that it is about."""
        known = [each for each in error.errors if each.get("field") in self.fields]
        for each in known:
            self.add_error(each["field"], each["detail"])
        if not known:
            self.add_error(None, error.detail)

    @property
    def mistakes(self) -> list[tuple[str, str, str]]:
        """(id of the field, its label, what is wrong) for the summary above the form."""
        return [
            (self[name].id_for_label or f"{self[name].auto_id}_0", str(self.fields[name].label), str(said))
            for name in self.fields
            for said in self[name].errors
        ]
