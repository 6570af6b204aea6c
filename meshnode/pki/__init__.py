"""Certificates: authority, request, leaf, renewal decisions. Pure: the clock and entropy are arguments.

In: PEM text, names, an instant. Out: PEM text and decisions with their reason. Files belong to the callers.
"""

__all__: list[str] = []
