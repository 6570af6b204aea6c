"""Setups of the matrix: every one that an agent starts with, and few of them that have every pair of settings."""

from __future__ import annotations

import itertools

from meshnode.prove.exposure_setups import CLIENT, GOSSIP, PORTS, ROLES, TLS, Setup, covering, every

FILES = {"key": "k", "ca_file": "ca", "cert_file": "cert", "key_file": "key"}


def pairs(setup: Setup) -> set[tuple[tuple[int, str], ...]]:
    values = enumerate((setup.gossip, setup.tls, setup.ports, setup.client, setup.role))
    return set(itertools.combinations(values, 2))


def test_every_combination_is_there_once_but_those_with_https_and_no_certificate() -> None:
    whole = len(GOSSIP) * len(TLS) * len(PORTS) * len(CLIENT) * len(ROLES)
    impossible = len(GOSSIP) * 2 * len(CLIENT) * len(ROLES)
    assert len(set(every())) == len(every()) == whole - impossible


def test_each_possible_pair_of_values_is_in_a_covering_setup_and_they_are_few() -> None:
    found = covering()
    assert set().union(*map(pairs, found)) == set().union(*map(pairs, every()))
    assert len(GOSSIP) * len(TLS) <= len(found) <= 40
    assert found == covering()
    assert all(setup.possible for setup in found)


def test_a_setup_sets_just_the_keys_that_it_is_about() -> None:
    setup = Setup("in", "verify_incoming_rpc", "https", "both", "client")
    assert setup.configuration(inside="127.0.0.2", outside="127.0.0.1", **FILES) == {
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.2 127.0.0.1",
        "ports": {"http": -1, "https": 8501},
        "encrypt": "k",
        "encrypt_verify_incoming": True,
        "encrypt_verify_outgoing": False,
        "ca_file": "ca",
        "cert_file": "cert",
        "key_file": "key",
        "verify_incoming_rpc": True,
    }
    bare = Setup("no key", "no certificate", "none", "inside", "server")
    assert bare.configuration(inside="127.0.0.2", outside="127.0.0.1", **FILES) == {
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.2",
        "ports": {"http": -1, "https": -1},
        "server": True,
        "bootstrap_expect": 1,
    }
