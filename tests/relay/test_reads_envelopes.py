"""relay.envelope: headers in, an Envelope or an error that names every bad header."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import envelope
from relay.envelope import Envelope, InvalidHeader

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
GOOD = {"HTTP_X_SENT_BY": "bot-one", "HTTP_X_SEND_TO": "bot-two", "HTTP_X_MESSAGE_ID": ID}


def bad_headers(**changes: str | None) -> set[str]:
    headers = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(InvalidHeader) as raised:
        envelope.read(headers)
    named = {error["header"] for error in raised.value.errors}
    assert all(name in raised.value.detail for name in named)
    return named


def test_reads_the_least() -> None:
    read = envelope.read(GOOD)
    assert (read.sent_by, read.send_to, read.written_id, read.message_id) == ("bot-one", "bot-two", ID, UUID(ID))
    assert (read.written_ref, read.model_type, read.content_type, read.time_to_live) == ("", "", "text/plain", None)


def test_reads_the_most() -> None:
    more = {
        "HTTP_X_MESSAGE_ID_REF": "anything at all",
        "HTTP_X_MODEL_TYPE": "application/vnd.dmr.error+json;version=1",
        "CONTENT_TYPE": "application/json",
        "HTTP_TTL": "60",
    }
    read = envelope.read({**GOOD, **more})
    assert (read.written_ref, read.content_type, read.time_to_live) == ("anything at all", "application/json", 60)


def test_names_every_missing_header() -> None:
    with pytest.raises(InvalidHeader) as raised:
        envelope.read({})
    assert [error["header"] for error in raised.value.errors] == ["X-Sent-By", "X-Send-To", "X-Message-Id"]
    assert all("required" in error["detail"] for error in raised.value.errors)


@pytest.mark.parametrize(
    ("name", "value", "header"),
    [
        ("HTTP_X_SENT_BY", "", "X-Sent-By"),
        ("HTTP_X_SENT_BY", "bot\x01", "X-Sent-By"),
        ("HTTP_X_SEND_TO", "bött", "X-Send-To"),
        ("HTTP_X_SEND_TO", "a" * 256, "X-Send-To"),
        ("HTTP_X_MESSAGE_ID", "1", "X-Message-Id"),
        ("HTTP_X_MESSAGE_ID", f"{ID}0", "X-Message-Id"),
        ("HTTP_X_MESSAGE_ID", f" {ID}", "X-Message-Id"),
        ("HTTP_X_MESSAGE_ID", ID.replace("0", "g"), "X-Message-Id"),
        ("HTTP_X_MESSAGE_ID_REF", "a\nb", "X-Message-Id-Ref"),
        ("HTTP_X_MODEL_TYPE", "a\tb", "X-Model-Type"),
        ("HTTP_X_MODEL_TYPE", "a" * 256, "X-Model-Type"),
        ("CONTENT_TYPE", "text/\u00e4", "Content-Type"),
        ("HTTP_TTL", "0", "TTL"),
        ("HTTP_TTL", "-1", "TTL"),
        ("HTTP_TTL", "1.5", "TTL"),
        ("HTTP_TTL", "9" * 11, "TTL"),
        ("HTTP_TTL", "²", "TTL"),
        ("HTTP_TTL", "٣", "TTL"),
    ],
)
def test_names_the_bad_header(name: str, value: str, header: str) -> None:
    assert bad_headers(**{name: value}) == {header}


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", ""), "{" + ID + "}"])
def test_ids_are_compared_as_uuids_and_kept_as_written(text: str) -> None:
    read = envelope.read({**GOOD, "HTTP_X_MESSAGE_ID": text})
    assert read.message_id == UUID(ID)
    assert read.written_id == text


NAMES = st.sampled_from([*GOOD, "HTTP_X_MODEL_TYPE", "HTTP_TTL", "CONTENT_TYPE"])


@given(st.dictionaries(NAMES, st.text(max_size=300)))
def test_reads_or_refuses_but_never_breaks(headers: dict[str, str]) -> None:
    try:
        read = envelope.read({**GOOD, **headers})
    except InvalidHeader:
        return
    for value in (read.sent_by, read.send_to, read.written_id, read.model_type, read.content_type):
        assert value.isascii()
        assert value == "" or value.isprintable()


def an_envelope(**changes: object) -> Envelope:
    return Envelope(
        **{  # type: ignore[arg-type]
            "message_id": UUID(ID),
            "written_id": ID,
            "sent_by": "bot-one",
            "send_to": "bot-two",
            "written_ref": ID,
            "model_type": "m",
            "content_type": "text/plain",
            "time_to_live": None,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "payload", "same"),
    [
        ({}, b"payload", True),
        ({"written_ref": ID.upper()}, b"payload", True),
        ({"sent_by": "Classifier"}, b"payload", True),
        ({"time_to_live": 5}, b"payload", True),
        ({}, b"payloae", False),
        ({}, b"", False),
        ({"send_to": "bot-three"}, b"payload", False),
        ({"written_ref": ""}, b"payload", False),
        ({"model_type": "n"}, b"payload", False),
        ({"model_type": ""}, b"payload", False),
        ({"content_type": "text/html"}, b"payload", False),
        ({"model_type": "", "content_type": "mtext/plain"}, b"payload", False),
    ],
)
def test_digest_knows_the_same_message(changes: dict[str, object], payload: bytes, same: bool) -> None:
    assert (an_envelope(**changes).digest(payload) == an_envelope().digest(b"payload")) is same
