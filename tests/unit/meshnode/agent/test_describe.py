from __future__ import annotations

import base64
import json
from typing import Any

from meshnode.agent.describe import public_config

KEY = base64.b64encode(b"sixteen byte key").decode()


def test_the_configuration_is_plain_data_without_the_key(config: Any) -> None:
    shown = public_config(config(encrypt=KEY, node_meta={"a": "b"}, retry_join=["10.0.0.1"]))
    text = json.dumps(shown)
    assert KEY not in text
    assert "sixteen byte key" not in text
    assert shown["gossip"]["encrypt"] == "hidden"
    assert shown["identity"]["node_meta"] == {"a": "b"}
    assert shown["join"]["retry_lan"] == ["10.0.0.1"]


def test_a_key_that_is_not_set_is_shown_as_that(config: Any) -> None:
    assert public_config(config())["gossip"]["encrypt"] is None
