"""How programs beside the agent talk to its HTTP API: the command line, the proxy's process, services with the SDK.

In: where the agent is, and a token. Out: answers, and what the proxy needs (certificates, decisions, instances). Not a
core: ``wire``, ``agent`` and ``mesh`` run on asyncio. ``settings``, ``endpoint`` and ``answer`` import neither asyncio
nor ssl, so that a command starts fast.

``settings``   address, token and TLS files, from arguments and Consul's variables of the environment
``endpoint``   reading an address; TLS to it; why it can't be reached, in words
``answer``     an answer, and the errors of the API
``wire``       one kept-alive connection
``agent``      calls and blocking queries over a few such connections
``shared``     one blocking query for all who follow the same; ``tls`` a context that follows its files
``reporter``   tells the agent what a proxy, or a native service, does
``routing``    which config entries the built-in proxy can't follow, and what to do then
``mesh``       the agent as the proxy's ``CertificateProvider``, ``Authorizer`` and ``Discovery``
"""

__all__: list[str] = []
