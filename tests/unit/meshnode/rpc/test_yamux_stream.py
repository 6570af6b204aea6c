from __future__ import annotations

import pytest

from meshnode.rpc.yamux_effects import StreamId
from meshnode.rpc.yamux_stream import TRANSITIONS, Cause, State, Stream

S, C = State, Cause
#: The whole matrix, written out by hand from spec.md; None is forbidden.
MATRIX: dict[State, dict[Cause, State | None]] = {
    S.SYN_SENT: {
        C.ACK_RECEIVED: S.ESTABLISHED,
        C.ACCEPTED: None,
        C.FIN_RECEIVED: S.REMOTE_CLOSED,
        C.FIN_SENT: S.LOCAL_CLOSED,
    },
    S.SYN_RECEIVED: {
        C.ACK_RECEIVED: None,
        C.ACCEPTED: S.ESTABLISHED,
        C.FIN_RECEIVED: S.REMOTE_CLOSED,
        C.FIN_SENT: None,
    },
    S.ESTABLISHED: {
        C.ACK_RECEIVED: S.ESTABLISHED,
        C.ACCEPTED: None,
        C.FIN_RECEIVED: S.REMOTE_CLOSED,
        C.FIN_SENT: S.LOCAL_CLOSED,
    },
    S.LOCAL_CLOSED: {
        C.ACK_RECEIVED: S.LOCAL_CLOSED,
        C.ACCEPTED: None,
        C.FIN_RECEIVED: S.CLOSED,
        C.FIN_SENT: None,
    },
    S.REMOTE_CLOSED: {
        C.ACK_RECEIVED: S.REMOTE_CLOSED,
        C.ACCEPTED: S.REMOTE_CLOSED,
        C.FIN_RECEIVED: None,
        C.FIN_SENT: S.CLOSED,
    },
    S.CLOSED: {C.ACK_RECEIVED: None, C.ACCEPTED: None, C.FIN_RECEIVED: None, C.FIN_SENT: None},
}


def test_the_table_is_the_matrix_and_nothing_else() -> None:
    assert set(MATRIX) == set(State)
    assert all(set(row) == set(Cause) for row in MATRIX.values())
    assert {(s, c): to for s, row in MATRIX.items() for c, to in row.items() if to is not None} == TRANSITIONS


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("cause", list(Cause))
def test_a_stream_moves_as_the_matrix_says(state: State, cause: Cause) -> None:
    stream = Stream(StreamId(1), ours=True, now=0.0)
    stream.state = state
    target = MATRIX[state][cause]
    assert stream.allows(cause) is (target is not None)
    if target is None:
        with pytest.raises(KeyError):
            stream.move(cause)
    else:
        stream.move(cause)
        assert stream.state is target


def test_the_queue_gives_what_the_window_allows_and_keeps_the_rest_in_order() -> None:
    stream = Stream(StreamId(1), ours=True, now=0.0)
    stream.send_window = 5
    stream.enqueue(b"abc")
    stream.enqueue(b"defgh")
    got = []
    while (chunk := stream.next_chunk(2)) is not None:
        got.append(bytes(chunk))
    assert got == [b"ab", b"c", b"de"]
    assert (stream.send_window, stream.queued_bytes) == (0, 3)
    stream.send_window = 100
    assert bytes(stream.next_chunk(100) or b"") == b"fgh"
    assert stream.next_chunk(100) is None
