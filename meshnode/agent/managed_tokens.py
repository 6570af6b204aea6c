"""The tokens by which managed proxies are known to this agent; no access control list has them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Final

from meshnode.local.state import LocalState

__all__ = ["ManagedTokens"]


class ManagedTokens:
    """A token may do what the token of the proxy's service may, which ``state`` has, and read what is its own."""

    def __init__(self, state: LocalState) -> None:
        self._state: Final = state
        self._tokens: dict[str, str] = {}
        self._proxies: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._proxies)

    def identify(self, token: str) -> tuple[str, str] | None:
        """The id of the proxy that has ``token`` and the token of its service; ``None``: no proxy has it."""
        proxy_id = self._proxies.get(token)
        entry = None if proxy_id is None else self._state.service(proxy_id)
        if proxy_id is None or entry is None or entry.definition.managed is None:
            return None
        return proxy_id, entry.token

    def of(self, proxy_id: str) -> str:
        """The token of a proxy, made when it is first asked for."""
        key = proxy_id.lower()
        if key not in self._tokens:
            self.restore({proxy_id: str(uuid.uuid4())})
        return self._tokens[key]

    def restore(self, tokens: Mapping[str, str]) -> None:
        """Take over the tokens of an earlier run: proxy id -> token."""
        for proxy_id, token in tokens.items():
            self._tokens[proxy_id.lower()] = token
            self._proxies[token] = proxy_id

    def keep(self, proxy_ids: Iterable[str]) -> None:
        """Forget the tokens of all other proxies."""
        kept = {proxy_id.lower() for proxy_id in proxy_ids}
        self._tokens = {key: token for key, token in self._tokens.items() if key in kept}
        self._proxies = {token: name for token, name in self._proxies.items() if name.lower() in kept}
