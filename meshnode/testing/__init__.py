"""Real agents for tests: a mesh on loopback, for the length of a ``with`` block. The public API for test suites.

In: how many servers and clients, and with what. Out: running processes (``python -m meshnode agent ...``) and a small
client for each. It knows the rest of the package only by its command line and its HTTP API.

``mesh``           a cluster: start it, wait for it, end it
``agent``          one agent of it, and requests to it
``process``        an agent's process: files, log, life
``api``            requests to an agent on the standard library
``addresses``      addresses on loopback that nobody else uses
``credentials``    the mesh's own CA, certificates and gossip key
``private_file``   files that only their owner may read
``history``        concurrent clients of ``/v1/kv`` that write down what they asked and what was answered
``kv_load``        the same as a program on a node, which judges what it wrote down
``guard``          the process that cleans up when the test's process is killed
``waiting``        wait for a condition with a deadline
``pytest_plugin``  the fixtures ``mesh`` and ``mesh_agent``
"""

from meshnode.testing.agent import AgentError, MeshAgent
from meshnode.testing.api import Answer, ApiError
from meshnode.testing.mesh import Mesh

__all__ = ["AgentError", "Answer", "ApiError", "Mesh", "MeshAgent"]
