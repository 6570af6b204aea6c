"""Watches: a question to the HTTP API that is asked again and again, and a handler that runs when its answer changes.

``plan``      what is watched, read from flags or configuration: path, query, and what the handler gets of the answer
``machine``   one watch: answers in; out come the next question, a handler to run, or a pause

In: definitions and answers. Out: effects for a shell, which is the ``watch`` command or the agent.
"""

__all__: list[str] = []
