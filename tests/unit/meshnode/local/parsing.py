"""How tests of definitions read what they expect."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError

__all__ = ["refusal"]


def refusal(read: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*arguments)
    return str(caught.value)
