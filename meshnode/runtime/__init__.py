"""The only place of asyncio, sockets, TLS contexts, clocks and processes: shells around the cores.

``gossip_shell``    one Serf node on the network; ``gossip_network``, ``gossip_stream``, ``gossip_sockets`` below it;
                    ``keyring_file`` and ``snapshot_file`` are what it keeps on disk
``private_file``    small files, whole or not there; ``json_file`` records in them, ``local_files`` the agent's own;
                    ``directory_lock`` one agent for each data directory
``log_*``           the replicated log on disk, in etcd (``etcd_*``), batched and replayed
``rpc_server``, ``rpc_client``   the server port, both ends; ``rpc_wire`` is what they share
``http_server``     the API's listeners; ``http_connection`` orders requests and answers; ``turns`` has long ones wait
``dns_*``, ``xds_*``   DNS and its recursors; Envoy's configuration over gRPC
``checks``, ``proxy``, ``tls_modes``   health checks, sidecars, TLS modes: packages of their own
``tls``             contexts from files, reloaded while running; ``tls_explain`` says why a handshake failed
``envoy_version``   which Envoy a program is
``file_marks``      whether files are still those that were read
``tasks``, ``logs``, ``notify``, ``interfaces``   named tasks, the log, systemd, the machine's addresses
"""

__all__: list[str] = []
