from __future__ import annotations

import pytest

from meshnode.base.errors import ConfigError
from meshnode.client.settings import ApiSettings, path_segment


def test_flags_count_more_than_the_environment_and_both_more_than_the_default() -> None:
    assert ApiSettings().with_environment({}).address == "http://127.0.0.1:8500"
    environ = {"CONSUL_HTTP_ADDR": "10.0.0.1:80", "CONSUL_HTTP_TOKEN": "t", "CONSUL_CACERT": "ca.pem"}
    settings = ApiSettings(ca_file="mine.pem").with_environment(environ)
    assert (settings.address, settings.token, settings.ca_file) == ("http://10.0.0.1:80", "t", "mine.pem")


@pytest.mark.parametrize(
    ("text", "scheme"), [("true", "https"), ("1", "https"), ("false", "http"), ("", "http")]
)
def test_http_ssl_chooses_the_scheme_of_an_address_without_one(text: str, scheme: str) -> None:
    environ = {"CONSUL_HTTP_SSL": text}
    assert ApiSettings(address="a:1").with_environment(environ).address == f"{scheme}://a:1"
    assert ApiSettings(address="http://a:1").with_environment(environ).address == "http://a:1"


@pytest.mark.parametrize("name", ["CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"])
def test_a_switch_that_is_neither_true_nor_false_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .*true or false"):
        ApiSettings().with_environment({name: "maybe"})


def test_settings_show_no_secret() -> None:
    text = repr(ApiSettings(address="a", token="secret-token", auth="user:pass"))
    assert text == "ApiSettings(address='a', verify=True)"


def test_a_segment_of_a_path_is_quoted_whole() -> None:
    assert path_segment("a/b c?") == "a%2Fb%20c%3F"
