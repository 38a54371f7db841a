"""What Django and the admin's theme say and have no Estonian for: collected here, so that our catalogue has it.

The test that counts untranslated texts on the pages says what is missing.
"""

from django.utils.translation import gettext_noop

OF_THE_THEME = (
    gettext_noop("Type to search"),
    gettext_noop("No results found"),
    gettext_noop("This page yielded into no results. Create a new item or reset your filters."),
    gettext_noop("Reset filters"),
    gettext_noop("Select action to run"),
    gettext_noop("Select action"),
    gettext_noop("Run"),
    gettext_noop("Select all rows"),
    gettext_noop("Select record"),
    gettext_noop("Choose file to upload"),
)
