"""Native integration: a Python service that speaks the mesh's mutual TLS itself, without a sidecar. Public API.

In: a service's name and the local agent. Out: TLS contexts that renew themselves, connections to other services, and
whether a peer may connect. A guide is in ``docs/sdk.md``.

``service``          the service: its life, identity, contexts, peers, connections
``server``           ``asyncio.start_server`` for those whom intentions allow
``asgi``             the same for ASGI applications
``httpx_transport``  URLs of the mesh for httpx (extra ``sdk``); imported by that name, since httpx may be missing
``contexts``         TLS contexts that renew themselves and judge their peer
``material``         the leaf, key and roots of the moment
``dialer``           instances tried one after another
``live``             connections that are cut when their source is denied
``registration``     the service in the agent's catalog
``refusals``         who was not let in
``hosts``            host names of URLs
``errors``           what is raised
"""

from meshnode.base.errors import MeshError
from meshnode.client.answer import AgentUnreachable, ApiError
from meshnode.client.settings import ApiSettings
from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision
from meshnode.sdk.asgi import MeshMiddleware
from meshnode.sdk.errors import DialError, PeerUnknownError
from meshnode.sdk.server import MeshServer
from meshnode.sdk.service import Service, Surroundings

__all__ = [
    "AgentUnreachable",
    "ApiError",
    "ApiSettings",
    "Decision",
    "DialError",
    "Identity",
    "MeshError",
    "MeshMiddleware",
    "MeshServer",
    "PeerUnknownError",
    "Service",
    "Surroundings",
]
