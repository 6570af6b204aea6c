"""How programs beside the agent talk to its HTTP API: the command line, the proxy's process, services with the SDK.

In: where the agent is, and a token. Out: answers, and what the proxy needs (certificates, decisions, instances). Not a
core: ``wire``, ``agent`` and ``mesh`` run on asyncio. ``settings``, ``endpoint`` and ``answer`` import neither asyncio
nor ssl, so that a command starts fast.

``settings``   address, token and TLS files, from arguments and Consul's variables of the environment
``endpoint``   reading an address; TLS to it; why it can't be reached, in words
``answer``     one HTTP/1.1 answer from bytes, and the errors of the API
``wire``       one kept-alive connection
``agent``      calls and blocking queries over a few such connections
``mesh``       the agent as the proxy's ``CertificateProvider``, ``Authorizer`` and ``Discovery``
``catalog``    instances to dial in what health and prepared queries answer
"""

__all__: list[str] = []
