"""Claims about doors are those of the configuration keys, in every combination, and a difference is told."""

from __future__ import annotations

import itertools

import pytest

from meshnode.base.address import Address
from meshnode.prove.exposure import (
    WAYS,
    Answer,
    Called,
    Door,
    Knock,
    Place,
    Settings,
    Way,
    call_claims,
    claims,
    differences,
)

PLACES = {Place.INSIDE: "127.0.0.1", Place.OUTSIDE: "10.0.0.1"}
EVERYWHERE = {door: (Address("0.0.0.0", 8000 + at),) for at, door in enumerate(Door)}
BOOLEANS = (False, True)
OUTSIDE = Place.OUTSIDE


def claimed(door: Door, way: Way, **settings: bool) -> Answer:
    found = claims(Settings(EVERYWHERE, **settings), PLACES)
    assert found[Knock(door, Place.INSIDE, way)] is found[Knock(door, OUTSIDE, way)]
    return found[Knock(door, OUTSIDE, way)]


def test_every_way_of_every_door_from_every_place_has_a_claim() -> None:
    found = claims(Settings(EVERYWHERE, keyed=True), PLACES)
    assert set(found) == {
        Knock(door, place, way) for door, ways in WAYS.items() for place in PLACES for way in ways
    }
    assert Answer.CLOSED not in found.values()


@pytest.mark.parametrize("door", [Door.GOSSIP_UDP, Door.GOSSIP_TCP])
@pytest.mark.parametrize(
    ("keyed", "incoming", "outgoing", "in_clear", "sealed"),
    [
        (False, True, True, Answer.READABLE, None),
        (False, False, False, Answer.READABLE, None),
        (True, True, True, Answer.REFUSES, Answer.SEALED),
        (True, False, True, Answer.SEALED, Answer.SEALED),
        (True, True, False, Answer.REFUSES, Answer.READABLE),
        (True, False, False, Answer.READABLE, Answer.READABLE),
    ],
)
def test_gossip_takes_and_sends_in_clear_as_the_two_keys_say(
    door: Door, keyed: bool, incoming: bool, outgoing: bool, in_clear: Answer, sealed: Answer | None
) -> None:
    settings = Settings(
        EVERYWHERE, keyed=keyed, encrypt_verify_incoming=incoming, encrypt_verify_outgoing=outgoing
    )
    found = claims(settings, PLACES)
    assert found[Knock(door, OUTSIDE, Way.CLEAR)] is in_clear
    assert found.get(Knock(door, OUTSIDE, Way.SEALED)) is sealed


@pytest.mark.parametrize(("certificate", "rpc", "https"), list(itertools.product(BOOLEANS, repeat=3)))
def test_rpc_and_https_ask_for_a_certificate_each_by_its_own_key(
    certificate: bool, rpc: bool, https: bool
) -> None:
    settings = {"certificate": certificate, "verify_incoming_rpc": rpc, "verify_incoming_https": https}
    for door, verified in ((Door.RPC, rpc), (Door.HTTPS, https)):
        tls = Answer.ANSWERS if certificate and not verified else Answer.REFUSES
        assert claimed(door, Way.TLS, **settings) is tls
        assert claimed(door, Way.MUTUAL, **settings) is (Answer.ANSWERS if certificate else Answer.REFUSES)
    assert claimed(Door.RPC, Way.CLEAR, **settings) is (Answer.REFUSES if rpc else Answer.ANSWERS)
    assert claimed(Door.HTTPS, Way.CLEAR, **settings) is Answer.REFUSES
    assert claimed(Door.HTTP, Way.CLEAR, **settings) is Answer.ANSWERS
    assert claimed(Door.HTTP, Way.MUTUAL, **settings) is Answer.REFUSES
    assert claimed(Door.DNS, Way.CLEAR, **settings) is Answer.ANSWERS


@pytest.mark.parametrize(
    ("hosts", "inside", "outside"),
    [
        (("127.0.0.1",), Answer.ANSWERS, Answer.CLOSED),
        (("10.0.0.1",), Answer.CLOSED, Answer.ANSWERS),
        (("127.0.0.1", "10.0.0.1"), Answer.ANSWERS, Answer.ANSWERS),
        (("0.0.0.0",), Answer.ANSWERS, Answer.ANSWERS),
        (("::",), Answer.ANSWERS, Answer.ANSWERS),
        ((), Answer.CLOSED, Answer.CLOSED),
    ],
)
def test_a_door_answers_where_it_is_bound(hosts: tuple[str, ...], inside: Answer, outside: Answer) -> None:
    found = claims(Settings({Door.HTTP: tuple(Address(host, 8500) for host in hosts)}), PLACES)
    assert found[Knock(Door.HTTP, Place.INSIDE, Way.CLEAR)] is inside
    assert found[Knock(Door.HTTP, OUTSIDE, Way.CLEAR)] is outside
    assert found[Knock(Door.RPC, OUTSIDE, Way.CLEAR)] is Answer.CLOSED


@pytest.mark.parametrize(
    ("claim", "came", "opened"),
    [
        (Answer.REFUSES, Answer.ANSWERS, True),
        (Answer.CLOSED, Answer.ANSWERS, True),
        (Answer.CLOSED, Answer.REFUSES, False),
        (Answer.ANSWERS, Answer.REFUSES, False),
        (Answer.SEALED, Answer.READABLE, True),
        (Answer.READABLE, Answer.SEALED, False),
        (Answer.REFUSES, Answer.SEALED, True),
    ],
)
def test_what_is_more_open_than_claimed_is_marked(claim: Answer, came: Answer, opened: bool) -> None:
    knock = Knock(Door.RPC, OUTSIDE, Way.CLEAR)
    (sentence,) = differences({knock: claim}, {knock: came})
    assert sentence.startswith(
        f"server rpc from outside, in clear: {came}; the configuration claims: {claim}"
    )
    assert sentence.endswith("(OPEN)") is opened


def test_the_open_doors_come_first_and_what_was_not_observed_is_no_difference() -> None:
    one, other = Knock(Door.DNS, OUTSIDE, Way.CLEAR), Knock(Door.RPC, OUTSIDE, Way.CLEAR)
    claim = {one: Answer.ANSWERS, other: Answer.REFUSES}
    found = differences(claim, {one: Answer.CLOSED, other: Answer.ANSWERS})
    assert [sentence.split(" from ")[0] for sentence in found] == ["server rpc", "dns"]
    assert differences(claim, {}) == []
    assert differences(claim, dict(claim)) == []


@pytest.mark.parametrize(
    ("outgoing", "hostname", "called"),
    [
        (False, False, {Called.CLEAR}),
        (True, False, {Called.NAMED, Called.UNNAMED}),
        (True, True, {Called.NAMED}),
        (False, True, {Called.NAMED}),
    ],
)
def test_an_agent_calls_whom_its_two_keys_let_it(outgoing: bool, hostname: bool, called: set[Called]) -> None:
    found = call_claims(verify_outgoing=outgoing, verify_server_hostname=hostname)
    assert set(found) == set(Called)
    assert {one for one, answered in found.items() if answered} == called
