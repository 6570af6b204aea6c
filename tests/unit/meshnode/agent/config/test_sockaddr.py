"""Address templates: go-sockaddr's examples over a machine that we made up."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.agent.config.sockaddr import FUNCTIONS, MAX_TEMPLATE_CHARS, evaluate
from meshnode.base.errors import ConfigError
from meshnode.runtime.interfaces import Interface, Interfaces

UP = frozenset({"up", "broadcast", "multicast"})


def interface(name: str, address: str, flags: frozenset[str] = UP) -> Interface:
    return Interface(name, ipaddress.ip_interface(address), flags)


MACHINE = Interfaces(
    (
        interface("lo", "127.0.0.1/8", frozenset({"up", "loopback"})),
        interface("lo", "::1/128", frozenset({"up", "loopback"})),
        interface("docker0", "172.17.0.1/16"),
        interface("eth0", "10.0.0.5/24"),
        interface("eth0", "fe80::1/64"),
        interface("eth1", "8.8.4.4/29"),
        interface("eth2", "10.9.0.1/24", frozenset({"broadcast"})),
    ),
    default_name="eth0",
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ GetPrivateIP }}", "10.0.0.5"),
        ("{{GetPrivateIPs}}", "10.0.0.5 172.17.0.1"),
        ("{{ GetPublicIP }}", "8.8.4.4"),
        ("{{ GetPublicIPs }}", "8.8.4.4"),
        ('{{ GetInterfaceIP "eth0" }}', "10.0.0.5"),
        ("{{ GetInterfaceIP `docker` }}", "172.17.0.1"),
        ('{{ GetInterfaceIPs "^eth0$" }}', "10.0.0.5 fe80::1"),
        ('{{ GetInterfaceIP "wlan0" }}', ""),
        ('{{ GetAllInterfaces | include "name" "^eth" | exclude "flags" "up" | attr "address" }}', "10.9.0.1"),
        ('{{ GetAllInterfaces | include "type" "IPv4" | sort "-address" | join "address" " " }}',
         "172.17.0.1 127.0.0.1 10.9.0.1 10.0.0.5 8.8.4.4"),
        ('{{ GetAllInterfaces | include "network" "10.0.0.0/8|172.16.0.0/12" | join "name" "," }}',
         "docker0,eth0,eth2"),
        ('{{ GetAllInterfaces | include "rfc" "1918" | sort "size,name" | limit 1 | attr "name" }}', "docker0"),
        ('{{ GetAllInterfaces | include "flags" "loopback" | unique "name" | join "name" " " }}', "lo"),
        ('{{ GetAllInterfaces | include "type" "ip" | sort "default,type" | attr "name" }}', "eth0"),
        ('{{ GetPrivateInterfaces | offset "-1" | attr "address" }}', "172.17.0.1"),
        ('{{ GetDefaultInterfaces | include "type" "ipv4" | join "address" " " }}', "10.0.0.5"),
        ('{{ GetPrivateInterfaces | attr "network" }}', "10.0.0.0"),
        ('{{ GetPrivateInterfaces | attr "string" }}', "10.0.0.5/24"),
        ('{{ range GetPrivateInterfaces }}{{ attr "address" . }}:{{ attr "name" . }} {{ end }}',
         "10.0.0.5:eth0 172.17.0.1:docker0 "),
        ('{{- range GetPrivateInterfaces -}} {{ attr "name" . }} {{- end -}}', "eth0docker0"),
        ('{{ . | include "type" "ipv4" | limit 1 | attr "address" }}', "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("unix:///x {{ GetPrivateIP }}", "unix:///x 10.0.0.5"),
    ],
)  # fmt: skip
def test_a_template_stands_for_addresses_of_the_machine(template: str, text: str) -> None:
    assert evaluate(template, MACHINE) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ GetPrivatIP }}", "GetPrivatIP is not a function: did you mean GetPrivateIP?; known are GetAllInterfaces,"),
        ("{{ GetInterfaceIP }}", "GetInterfaceIP takes 1 argument, got 0"),
        ("{{ GetInterfaceIP . }}", "GetInterfaceIP takes text here, not interfaces: write it in quotes"),
        ('{{ GetAllInterfaces | include "name" . | attr "name" }}', "include takes text here, not interfaces"),
        ("{{ GetPrivateIP", "{{ has no }}"),
        ("{{ GetAllInterfaces }}", 'end it with | attr "address" or | join "address" " "'),
        ('{{ GetPrivateIP | attr "address" }}', "attr works on a list of interfaces"),
        ('{{ GetAllInterfaces | include "colour" "red" | attr "name" }}', "'colour' is not a selector: write one of"),
        ('{{ GetAllInterfaces | include "flags" "fast" | attr "name" }}', "flags: 'fast' is not known: write some of"),
        ('{{ GetAllInterfaces | include "rfc" "1" | attr "name" }}', "rfc: '1' reserves no addresses"),
        ('{{ GetAllInterfaces | include "network" "10.0.0.0/99" | attr "name" }}', "network:"),
        ('{{ GetAllInterfaces | include "name" "(" | attr "name" }}', "is not a regular expression"),
        ('{{ GetAllInterfaces | include "type" "ipx" | attr "name" }}', "type: 'ipx' is not known"),
        ('{{ GetAllInterfaces | sort "speed" | attr "name" }}', "sort: 'speed' is not known"),
        ('{{ GetAllInterfaces | unique "flags" | attr "name" }}', "unique: 'flags' is not known"),
        ('{{ GetAllInterfaces | limit "x" | attr "name" }}', "limit: 'x' is not a count"),
        ('{{ GetAllInterfaces | offset 99 | attr "name" }}', "offset: 99 is more than the 7 interfaces"),
        ('{{ GetAllInterfaces | attr "colour" }}', "'colour' is not an attribute"),
        ('{{ with GetAllInterfaces }}{{ end }}', "with is a part of templates that is not supported"),
        ("{{ end }}", "there is no range to end"),
        ("{{ range GetAllInterfaces }}x", "range has no {{ end }}"),
        ("{{ range GetPrivateIP }}x{{ end }}", "range needs a list of interfaces"),
        ("{{ (GetPrivateIP) }}", "parentheses are not supported"),
        ("{{ GetPrivateIP | }}", "nothing stands between two bars"),
        ("{{ $x }}", "can't be read"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_read_is_refused_with_what_is_known(template: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate(template, MACHINE)
    assert message in str(caught.value)


def test_a_template_is_read_to_the_limit_and_refused_one_past_it() -> None:
    assert evaluate("x" * MAX_TEMPLATE_CHARS, MACHINE) == "x" * MAX_TEMPLATE_CHARS
    with pytest.raises(ConfigError, match="more than"):
        evaluate("x" * (MAX_TEMPLATE_CHARS + 1), MACHINE)


_WORDS = st.sampled_from(
    [*FUNCTIONS, "{{", "}}", "|", '"name"', '"eth"', "1", ".", "range", "end", "address", '""']
)


@given(st.lists(_WORDS, max_size=12).map(" ".join) | st.text(max_size=40))
def test_any_template_ends_in_text_or_in_a_config_error(template: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(evaluate(template, MACHINE), str)
