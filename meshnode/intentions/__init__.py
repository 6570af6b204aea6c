"""Intentions: which service may connect to which. In: stored intentions and two names; out: a decision with its reason.

``model``: the intention and its precedence; ``validate``: what is refused; ``request``: an HTTP request in every way
in which a server might read it; ``decide``: the decision, which fails closed; ``explain``: the decision for people;
``store``: the table, part of the replicated state.
"""

__all__: list[str] = []
