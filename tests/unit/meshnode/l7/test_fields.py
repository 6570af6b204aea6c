from __future__ import annotations

import pytest

from meshnode.l7.fields import checked, end_to_end, field_text, shown, tokens, trailers
from meshnode.l7.model import RefusalError


def test_names_are_in_lower_case_and_values_without_space_around() -> None:
    assert checked([(b"X-Y", b" \t a b \t")], 1) == ((b"x-y", b"a b"),)


@pytest.mark.parametrize(
    "field",
    [(b"", b"a"), (b"a b", b"c"), (b"a:", b"c"), (b"\xe9", b"c"), (b"a", b"b\r\nc: d"), (b"a", b"\0")],
)
def test_what_is_no_field_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(RefusalError) as caught:
        checked([field], 10)
    assert caught.value.status == 400


def test_the_most_fields_are_taken_and_one_more_is_not() -> None:
    assert len(checked([(b"a", b"")] * 3, 3)) == 3
    with pytest.raises(RefusalError) as caught:
        checked([(b"a", b"")] * 4, 3)
    assert caught.value.status == 431


def test_members_of_a_field_come_from_all_of_its_lines() -> None:
    assert tokens(((b"a", b"X, ,y"), (b"b", b"z"), (b"a", b"Z")), b"a") == (b"x", b"y", b"z")


def test_trailers_that_decide_about_the_message_come_too_late() -> None:
    found = trailers([(b"Content-Length", b"1"), (b"Authorization", b"x"), (b"grpc-status", b"0")], 10)
    assert found == ((b"grpc-status", b"0"),)


def test_te_is_only_about_trailers() -> None:
    assert end_to_end(((b"te", b"gzip"),)) == ()
    assert end_to_end(((b"te", b"gzip, Trailers"),)) == ((b"te", b"trailers"),)


def test_a_value_that_is_no_text_equals_none() -> None:
    assert field_text("é".encode()) == "é"
    assert field_text(b"\xff") != "ÿ"


def test_what_a_peer_sent_is_shown_in_one_printable_line() -> None:
    assert shown(b"a\r\n\x1b" + b"x" * 100).isprintable()
    assert len(shown(b"\xff" * 100)) < 200
