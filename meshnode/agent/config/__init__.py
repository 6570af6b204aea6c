"""The agent's configuration: Consul 1.2.3's keys, sources, merge rule and error texts.

In: the arguments of ``agent`` and the environment. Out: a frozen :class:`AgentConfig` and warnings, or one
``ConfigError`` that names every mistake with its file, line and column.

``load``      the way from one end to the other; ``flags`` and ``sources`` feed it
``keys``      the table of every key (rows in ``table/``); a refused key carries its reason
``hcl``, ``json_text``   texts to values that know their place; ``schema`` types them, ``merge`` joins them
``checks``, ``addresses``, ``listeners``, ``tls_check``   what the values mean together, and on this machine
``model``, ``assemble``  the result, and what a reload changes
``document``  writes ``docs/configuration.md``
"""

from meshnode.agent.config.assemble import Changes, compare
from meshnode.agent.config.load import Loaded, Machine, load, load_files
from meshnode.agent.config.model import AgentConfig

__all__ = ["AgentConfig", "Changes", "Loaded", "Machine", "compare", "load", "load_files"]
