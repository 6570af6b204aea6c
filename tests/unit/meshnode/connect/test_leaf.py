"""What a server's replies become at an agent; a reply of another shape is an error, never a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import RemoteProtocolError
from meshnode.connect.leaf import parse_leaf, parse_trust_bundle

SIGNED = {
    "SerialNumber": "1f:02", "CertPEM": "pem", "ServiceURI": "spiffe://x", "ValidAfter": "1970-01-01T00:00:10Z",
    "ValidBefore": "1970-01-01T00:01:40Z", "ModifyIndex": 7, "RootID": "ab",
}  # fmt: skip
ROOTS = {
    "ActiveRootID": "b", "TrustDomain": "x.consul", "Index": 9, "Revoked": ["66"],
    "Distrusted": ["c"],
    "Roots": [{"ID": "b", "RootCert": "B\n"}, {"ID": "a", "RootCert": "A\n"}],
}  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SIGNED, *ROOTS]), inner),
    max_leaves=8,
)


def test_a_leaf_is_valid_from_its_first_second_until_its_end() -> None:
    leaf = parse_leaf(SIGNED, "SECRET", "web")
    assert [leaf.is_valid(at) for at in (9.9, 10.0, 99.9, 100.0)] == [False, True, True, False]
    assert (leaf.index, leaf.root_id, leaf.service) == (7, "ab", "web")
    assert "SECRET" not in repr(leaf)


def test_a_bundle_is_all_roots_and_their_ids_sorted() -> None:
    bundle = parse_trust_bundle(ROOTS)
    assert (bundle.pem, bundle.ids, bundle.active_id, bundle.index) == ("B\nA\n", ("a", "b"), "b", 9)
    assert (bundle.revoked, bundle.distrusted) == ({"66"}, {"c"})


@pytest.mark.parametrize("name", ["Revoked", "Distrusted"])
def test_what_an_earlier_server_does_not_tell_is_empty_and_anything_else_is_refused(name: str) -> None:
    bundle = parse_trust_bundle({key: value for key, value in ROOTS.items() if key != name})
    assert {"Revoked": bundle.revoked, "Distrusted": bundle.distrusted}[name] == frozenset()
    with pytest.raises(RemoteProtocolError, match=f"{name} of a server is no list"):
        parse_trust_bundle({**ROOTS, name: 5})


@pytest.mark.parametrize("name", ["SerialNumber", "CertPEM", "ServiceURI", "ValidAfter", "ModifyIndex"])
def test_a_reply_without_a_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match=name):
        parse_leaf({key: value for key, value in SIGNED.items() if key != name}, "", "web")


@given(anything)
def test_any_reply_ends_in_a_value_or_in_a_refusal(reply: Any) -> None:
    for read in (parse_trust_bundle, lambda value: parse_leaf(value, "", "web")):
        try:
            read(reply)
        except RemoteProtocolError:
            continue
