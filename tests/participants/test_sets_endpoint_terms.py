"""Terms on which an endpoint is called: checked when they are entered, told without secrets, and kept by version."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from django.urls import reverse

from dmr_project import checks
from dmr_project.lib.errors import Forbidden, InvalidInput
from dmr_project.lib.http import Terms
from participants import directory, endpoint_terms, registry
from participants.endpoint_terms import Given, Kept, Unusable
from participants.models import Change, EndpointTerms, Participant
from staff import roles
from tests import factories
from tests.certificates import DAY, Made, make
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db

AUTHORITY = make("our authority")
OWN = make("dmr-relay", by=AUTHORITY, for_clients=True, ends=10 * DAY)
OTHER = make("dmr-relay", by=AUTHORITY, for_clients=True)


def change(row: Participant, **given: str | None) -> EndpointTerms:
    return endpoint_terms.change(row, Given(**given), actor="anna", reason="their own authority")


def terms_of(row: Participant) -> Terms | Unusable | None:
    row.refresh_from_db()
    return Kept().of(row.pk, row.terms_version)


# -- entering --


def test_all_of_it() -> None:
    row = factories.participant().row
    assert terms_of(row) is None
    stored = change(
        row,
        allowed_networks=" 10.1.0.0/16, fd12::/48 ",
        authority=f"a comment, õ\n{AUTHORITY.pem}",
        client_certificate=OWN.pem,
        client_key=OWN.key_pem,
    )
    found = terms_of(row)
    assert isinstance(found, Terms)
    found.guard.check("10.1.2.3")
    found.guard.check("fd12::1")
    assert [each["subject"] for each in found.tls.get_ca_certs()] == [((("commonName", "our authority"),),)]
    assert stored.expires_at == OWN.certificate.not_valid_after_utc
    assert stored.authority == AUTHORITY.pem, "what stood around it is not kept"


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"allowed_networks": "10.1.0.0"}, None, ""),
        ({"allowed_networks": "10.1.0.1/16"}, "allowed_networks", "is not a network"),
        ({"allowed_networks": "intranet"}, "allowed_networks", "is not a network such as"),
        ({"allowed_networks": "127.0.0.0/8"}, "allowed_networks", "holds 127.0.0.0/8, which is never called"),
        ({"allowed_networks": "127.0.0.1/32"}, "allowed_networks", "never called"),
        ({"allowed_networks": "0.0.0.0/0"}, "allowed_networks", "never called"),
        ({"allowed_networks": "10.0.0.0/8,169.254.0.0/16"}, "allowed_networks", "never called"),
        ({"allowed_networks": "169.254.169.254/32"}, "allowed_networks", "never called"),
        ({"allowed_networks": "::1/128"}, "allowed_networks", "never called"),
        ({"allowed_networks": "fe80::/10"}, "allowed_networks", "never called"),
        ({"allowed_networks": "::/0"}, "allowed_networks", "never called"),
        ({"allowed_networks": "::ffff:10.0.0.0/104"}, "allowed_networks", "never called"),
        ({"authority": "certificate"}, "authority", "-----BEGIN CERTIFICATE-----"),
        ({"authority": AUTHORITY.pem[:200]}, "authority", "not a certificate in PEM form"),
        ({"authority": AUTHORITY.pem + AUTHORITY.key_pem}, "authority", "private key"),
        ({"authority": make("an old authority", begins=-2 * DAY, ends=-DAY).pem}, "authority", "expired on"),
        ({"authority": make("an early authority", begins=DAY).pem}, "authority", "is not valid before"),
        ({"client_certificate": OWN.pem}, "client_key", "must be entered with it"),
        ({"client_key": OWN.key_pem}, "client_certificate", "must be entered with it"),
        ({"client_certificate": OWN.pem, "client_key": OTHER.key_pem}, "client_key", "does not belong to"),
        ({"client_certificate": OWN.pem, "client_key": OWN.pem}, "client_key", "not a private key in PEM form"),
        ({"client_certificate": OWN.pem, "client_key": OWN.protected_key_pem("x")}, "client_key", "passphrase"),
        ({"client_certificate": "x", "client_key": OWN.key_pem}, "client_certificate", "not a certificate"),
        (
            {"client_certificate": AUTHORITY.pem + OWN.pem, "client_key": OWN.key_pem},
            "client_key",
            "must come first",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, str], field: str | None, said: str) -> None:
    row = factories.participant().row
    if field is None:
        change(row, **given)
        return
    with pytest.raises(InvalidInput) as refused:
        change(row, **given)
    (problem,) = refused.value.errors
    assert problem["field"] == field
    assert said in problem["detail"]
    assert "PRIVATE KEY-----\nM" not in refused.value.detail, "what was entered is not repeated"
    assert terms_of(row) is None
    assert not EndpointTerms.objects.exists()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: make("server.ee", by=AUTHORITY), "is not for clients"),
        (lambda: make("dmr-relay", by=AUTHORITY, for_clients=True, begins=-2 * DAY, ends=-DAY), "expired on"),
        (lambda: make("a", for_clients=True, key=rsa.generate_private_key(65537, 1024)), "OpenSSL does not take"),
    ],
)  # fmt: skip
def test_a_client_certificate_that_no_server_would_take(made: Callable[[], Made], said: str) -> None:
    own = made()
    with pytest.raises(InvalidInput, match=said):
        change(factories.participant().row, client_certificate=own.pem, client_key=own.key_pem)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        change(
            factories.participant().row, allowed_networks="x", authority="x", client_certificate="x", client_key=""
        )
    assert [each["field"] for each in refused.value.errors] == [
        "allowed_networks",
        "authority",
        "client_certificate",
        "client_key",
    ]


def test_what_is_not_given_stays_and_what_is_empty_goes() -> None:
    row = factories.participant().row
    change(row, allowed_networks="10.1.0.0/16", client_certificate=OWN.pem, client_key=OWN.key_pem)
    stored = change(row, authority=AUTHORITY.pem)
    assert (stored.allowed_networks, stored.client_certificate) == ("10.1.0.0/16", OWN.pem)
    stored = change(row, client_certificate="", client_key="")
    assert (stored.client_certificate, stored.sealed_key) == ("", "")
    change(row, allowed_networks="", authority="")
    row.refresh_from_db()
    assert row.terms_version == 0, "called like all others again"
    assert terms_of(row) is None


def test_our_own_entry_and_deleted_ones_have_none() -> None:
    registry.ensure_own_entries()
    with pytest.raises(Forbidden):
        change(directory.relay(), allowed_networks="10.1.0.0/16")


def test_nothing_is_kept_of_a_deleted_participant() -> None:
    row = factories.participant().row
    change(row, client_certificate=OWN.pem, client_key=OWN.key_pem)
    registry.remove_participant(row, actor="anna")
    assert not EndpointTerms.objects.exists()
    assert terms_of(row) is None


# -- keeping --


def test_a_process_keeps_terms_until_they_change(django_assert_num_queries: Any) -> None:
    row, kept = factories.participant().row, Kept()
    with django_assert_num_queries(0):
        assert kept.of(row.pk, 0) is None
    change(row, authority=AUTHORITY.pem)
    row.refresh_from_db()
    first = kept.of(row.pk, row.terms_version)
    with django_assert_num_queries(0):
        assert kept.of(row.pk, row.terms_version) is first
    versions = {row.terms_version}
    for given in ({"authority": ""}, {"authority": AUTHORITY.pem}, {"allowed_networks": "10.1.0.0/16"}):
        change(row, **given)
        row.refresh_from_db()
        assert row.terms_version == 0 or row.terms_version not in versions, "a version is never used again"
        versions.add(row.terms_version)
        assert kept.of(row.pk, row.terms_version) is not first


def test_two_participants_with_the_same_terms_share_no_context() -> None:
    """The pool of connections is keyed by the context."""
    rows = [factories.participant().row for _ in range(2)]
    kept, found = Kept(), []
    for row in rows:
        change(row, authority=AUTHORITY.pem)
        row.refresh_from_db()
        found.append(kept.of(row.pk, row.terms_version))
    assert isinstance(found[0], Terms)
    assert isinstance(found[1], Terms)
    assert found[0].tls is not found[1].tls


def test_saving_a_participant_leaves_its_terms() -> None:
    row = factories.participant().row
    stale = Participant.objects.get(pk=row.pk)
    change(row, authority=AUTHORITY.pem)
    stale.host = "https://moved.invalid/messages"
    registry.update(stale, actor="anna")
    assert isinstance(terms_of(row), Terms)


# -- secrets --


def test_a_changed_secret_key_costs_the_endpoint_and_nothing_else(settings: Any) -> None:
    row = factories.participant().row
    change(row, client_certificate=OWN.pem, client_key=OWN.key_pem)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another secret key"
    found = terms_of(row)
    assert isinstance(found, Unusable)
    assert "staff must enter it again" in found.reason
    assert endpoint_terms.reseal() == 0
    settings.SECRET_KEY_FALLBACKS = [old]
    assert endpoint_terms.reseal() == 1
    settings.SECRET_KEY_FALLBACKS = []
    assert isinstance(terms_of(row), Terms)


def test_a_key_cannot_be_put_into_another_row() -> None:
    one, other = factories.participant().row, factories.participant().row
    for row in (one, other):
        change(row, client_certificate=OWN.pem, client_key=OWN.key_pem)
    sealed = EndpointTerms.objects.get(pk=one.pk).sealed_key
    EndpointTerms.objects.filter(pk=other.pk).update(sealed_key=sealed)
    assert isinstance(terms_of(other), Unusable)


def test_history_tells_without_secrets() -> None:
    row = factories.participant().row
    change(row, allowed_networks="10.1.0.0/16", client_certificate=OWN.pem, client_key=OWN.key_pem)
    said = Change.objects.get(action="change endpoint terms")
    assert (said.actor, said.subject, said.reason) == ("anna", row.name, "their own authority")
    assert said.before == {"allowed_networks": "", "client_certificate": ""}
    assert said.after["allowed_networks"] == "10.1.0.0/16"
    assert OWN.fingerprint in said.after["client_certificate"]
    assert f"until {OWN.certificate.not_valid_after_utc:%Y-%m-%d}" in said.after["client_certificate"]
    written = json.dumps(list(Change.objects.values("before", "after")))
    for secret in (OWN.key_pem.splitlines()[1], EndpointTerms.objects.get().sealed_key, "BEGIN"):
        assert secret not in written
    change(row, allowed_networks="10.1.0.0/16")
    assert Change.objects.filter(action="change endpoint terms").count() == 1, "nothing changed"


# -- staff --


def page(row: Participant) -> str:
    return reverse("admin:participants_endpointterms_of", args=[row.pk])


def test_staff_enter_and_see_them(admin_client: Client) -> None:
    row = factories.participant().row
    linked = admin_client.get(reverse("admin:participants_participant_change", args=[row.pk])).content.decode()
    assert page(row) in linked
    data = {
        "allowed_networks": "10.1.0.0/16",
        "authority": AUTHORITY.pem,
        "client_certificate": OWN.pem,
        "client_key": OWN.key_pem,
        "reason": "contract 12",
    }
    answer = admin_client.post(page(row), data, follow=True)
    said = answer.content.decode()
    assert "is called under these terms from now on" in said
    assert "no-store" in answer["Cache-Control"]
    for shown in (OWN.fingerprint, AUTHORITY.fingerprint, "10.1.0.0/16", "dmr-relay"):
        assert shown in said
    listed = admin_client.get(reverse("admin:participants_endpointterms_changelist")).content.decode()
    assert OWN.fingerprint in listed
    assert row.name in listed
    for secret in (OWN.key_pem.splitlines()[1], EndpointTerms.objects.get().sealed_key):
        assert secret not in said + listed
    assert Change.objects.get(action="change endpoint terms").reason == "contract 12"
    # What is left empty stays; the box takes away.
    admin_client.post(page(row), {"allowed_networks": "10.1.0.0/16", "authority": ""})
    stored = EndpointTerms.objects.get()
    assert (stored.authority, stored.client_certificate) == ("", OWN.pem)
    admin_client.post(page(row), {"allowed_networks": "10.1.0.0/16", "no_client_certificate": "on"})
    assert EndpointTerms.objects.get().client_certificate == ""


def test_a_refusal_is_shown_at_its_field_and_repeats_no_key(admin_client: Client) -> None:
    row = factories.participant().row
    data = {"allowed_networks": "127.0.0.0/8", "client_certificate": OWN.pem, "client_key": OTHER.key_pem}
    said = admin_client.post(page(row), data).content.decode()
    assert "which is never called" in said
    assert "does not belong to" in said
    assert OTHER.key_pem.splitlines()[1] not in said
    assert not EndpointTerms.objects.exists()


def test_only_those_who_may(admin_client: Client) -> None:
    row = factories.participant().row
    assert browser(person()).get(page(row)).status_code == 403
    viewer = browser(person(roles.VIEWER))
    seen = viewer.get(page(row))
    assert seen.status_code == 200
    assert "<textarea" not in seen.content.decode()
    assert viewer.post(page(row), {"allowed_networks": "10.1.0.0/16"}).status_code == 403
    assert admin_client.get(page(directory.relay())).status_code == 403
    for odd in ("x", "99999", "1x"):
        assert admin_client.get(f"/admin/participants/endpointterms/of/{odd}/").status_code == 403
    assert not EndpointTerms.objects.exists()


# -- DMR_ALLOWED_PRIVATE_NETWORKS --


def test_the_setting_holds_for_all_and_with_an_endpoints_own(settings: Any) -> None:
    settings.ALLOWED_PRIVATE_NETWORKS = [ip_network("10.20.0.0/16")]
    row = factories.participant().row
    change(row, allowed_networks="10.1.0.0/16")
    found = terms_of(row)
    assert isinstance(found, Terms)
    assert [str(each) for each in found.guard.allowed] == ["10.20.0.0/16", "10.1.0.0/16"]


@pytest.mark.parametrize(
    ("network", "passes"),
    [("10.20.0.0/16", True), ("0.0.0.0/0", False), ("127.0.0.0/8", False), ("fd00::/8", True), ("fe80::/10", False)],
)
def test_a_start_refuses_a_setting_that_holds_ourselves(settings: Any, network: str, passes: bool) -> None:
    settings.ALLOWED_PRIVATE_NETWORKS = [ip_network(network)]
    found = checks.check_private_networks()
    assert [each.id for each in found] == ([] if passes else ["dmr.E004"])


def test_the_first_certificate_to_expire_is_listed_first(admin_client: Client) -> None:
    soon, late = factories.participant("expires-soon").row, factories.participant("expires-late").row
    change(late, authority=AUTHORITY.pem)
    change(soon, client_certificate=OWN.pem, client_key=OWN.key_pem)
    assert OWN.certificate.not_valid_after_utc + timedelta(days=1) < AUTHORITY.certificate.not_valid_after_utc
    listed = admin_client.get(reverse("admin:participants_endpointterms_changelist")).content.decode()
    assert listed.index("expires-soon") < listed.index("expires-late")
