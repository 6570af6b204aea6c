"""Capture reading, protocol recognition and verdicts. Pure: open binary files in, verdicts out.

``records``     frames of a pcap or pcapng file
``frame``       from a frame of any link type to its TCP segment or UDP datagram
``fragments``   IP fragments put together
``capture``     one file's packets, and what in it could not be read
``streams``     TCP payload put in order, per connection and direction, with what is missing
``tls``         a walk over TLS records; ``tls_hello`` reads version, cipher, names and certificates
``gossip``      is a memberlist frame sealed, and does a key open it, or is it readable
``recognise``   what one stream or datagram is; ``dns_shape`` knows DNS by a strict walk
``authentication``  did both ends of a TLS connection show a certificate
``canary``      planted words, as they are and in the disguises that they travel in; ``gzip_search`` expands
``verdict``     one judgement per port from everything seen on it
``flow``        the same per pair of nodes and direction; ``timeline`` is when each port spoke
``conclusion``  proved, failed or void, with the reasons, and what the control takes away
``evidence``    mesh and control to one document; ``manifest`` lists a bundle's files by digest
``summary``     the document in short, for one value of the KV store
``report``      the document as a page, with the pictures of ``report_svg``
``excerpt``     the bytes that show it, in ``hexdump`` as ``tcpdump -X`` has it
``exposure``    what a configuration claims about each door; ``exposure_setups`` are configurations to try
``cost``        what a protection costs, from repeated measurements; ``cost_report`` shows it
``linearizability``  does one order of concurrent operations explain every answer
``tap_file``    captures that a relay writes, where nobody may capture packets
``budget``      the memory that all of this may hold
"""

__all__: list[str] = []
