"""The service mesh's trust: which roots there are, who signs, and how one root follows another. Pure.

In: commands with everything in them, reports of nodes, an instant. Out: values of the state, and what is to be done.

``model``          roots, settings of the CA, reports of nodes, revoked serial numbers, as frozen values
``settings``       the settings of the CA as Consul writes them, checked
``store``          the table of all this in the state machine
``rotation``       from one root to the next: phases, who is waited for, and why
``provider``       what a CA has to do for us: the built-in one and others
``leaf``           a leaf certificate and the roots, as an agent holds them
``leaf_schedule``  when an agent asks for the next leaf
"""

__all__: list[str] = []
