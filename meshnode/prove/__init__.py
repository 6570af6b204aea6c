"""Capture reading, protocol recognition and verdicts. Pure: an open binary file in, verdicts out.

``capture``    frames of a pcap or pcapng file as packets, whatever their link type
``streams``    TCP payload put in order, per connection and direction, with what is missing
``tls``        records and hellos: version, cipher, names; and the certificates where they travel in clear
``gossip``     is a memberlist frame sealed or readable
``recognise``  what one stream or datagram is
``verdict``    one judgement per port from everything seen on it, canaries included
"""

__all__: list[str] = []
