"""The load of a chaos run, meshnode.testing.kv_load, with the libraries that the agent of this node brought along."""

import sys

sys.path.insert(0, "/opt/meshnode/current/lib")

from meshnode.testing.kv_load import main

sys.exit(main(sys.argv[1:]))
