from __future__ import annotations

from dataclasses import replace

from meshnode.connect.model import EMPTY, CaConfig, CaRoot, CaState, NodeTrust, RootKey
from meshnode.connect.secondary import Told, datacenter_node, followed, report_of

CONFIG = CaConfig("11111111-2222-3333-4444-555555555555", leaf_cert_ttl=3600.0)


def root(name: str, **given: object) -> CaRoot:
    return replace(CaRoot(name, name, 1, "ab", 0.0, 100.0, f"pem of {name}"), **given)  # type: ignore[arg-type]


def key(name: str) -> RootKey:
    return RootKey(name, "secret", intermediate=f"intermediate of {name}")


TOLD = Told(CONFIG, "b", (root("a"), root("b", active=True, intermediates=("cross",))))


def test_a_root_is_active_here_once_there_is_an_intermediate_of_it() -> None:
    before = followed(EMPTY, TOLD, None)
    assert [(row.id, row.active) for row in before.roots] == [("a", False), ("b", False)]
    assert (before.active, before.keys) == (None, ())
    older = followed(before, TOLD, key("a"))
    assert older.active is not None
    assert older.active.id == "a"
    after = followed(older, TOLD, key("b"))
    assert after.active == root("b", active=True, intermediates=("cross",))
    assert after.keys == (key("b"),)


def test_the_same_again_is_no_change_whatever_the_indexes_are_here() -> None:
    state = followed(EMPTY, TOLD, key("b"))
    assert state.config is not None
    stored = CaState(
        replace(state.config, create_index=5, modify_index=7),
        tuple(replace(row, create_index=5, modify_index=9) for row in state.roots),
        state.keys,
    )
    assert followed(stored, TOLD, key("b")) == stored
    assert followed(stored, replace(TOLD, config=replace(CONFIG, leaf_cert_ttl=60.0)), key("b")) != stored


def test_what_the_primary_distrusts_is_distrusted_here() -> None:
    assert followed(EMPTY, TOLD, None).distrusted == ()
    assert followed(EMPTY, replace(TOLD, distrusted=("z",)), key("b")).distrusted == ("z",)


def test_a_datacenter_trusts_what_all_of_its_nodes_trust_and_uses_what_any_does() -> None:
    ca = followed(EMPTY, TOLD, key("b"))
    trust = [NodeTrust("n1", ("a", "b"), ("b",)), NodeTrust("n2", ("a",), ("a",))]
    both = {"n1", "n2"}
    assert report_of("dc2", ca, trust, both) == NodeTrust(datacenter_node("dc2"), ("a",), ("a", "b"))
    # Who is down is not waited for, but its leaf may come back.
    assert report_of("dc2", ca, trust, {"n1"}) == NodeTrust(datacenter_node("dc2"), ("a", "b"), ("a", "b"))
    assert report_of("dc2", ca, [], both) == NodeTrust("datacenter dc2", ("a", "b"), ("b",))
    assert report_of("dc2", ca, [NodeTrust("N1", ("z",))], both) is None
