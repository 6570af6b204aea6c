from __future__ import annotations

from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st

from meshnode.l7.goaway import GoAwaySieve

DATA = DataFrame(1, data=b"x" * 30).serialize()
PING = PingFrame(0, opaque_data=b"12345678").serialize()
LEAVING = GoAwayFrame(0, last_stream_id=7, additional_data=b"bye").serialize()
BROKEN = GoAwayFrame(0, last_stream_id=7, error_code=ErrorCodes.PROTOCOL_ERROR).serialize()


@given(st.lists(st.sampled_from([DATA, PING, BROKEN, LEAVING]), max_size=6), st.lists(st.integers(1, 40)))
def test_only_goaway_without_an_error_is_taken_out_however_it_is_cut(
    frames: list[bytes], cuts: list[int]
) -> None:
    data, sieve, passed, last = b"PREFACE" + b"".join(frames), GoAwaySieve(len(b"PREFACE")), b"", []
    while data:
        size = cuts.pop() if cuts else 50
        piece, found = sieve.sift(data[:size])
        data, passed = data[size:], passed + piece
        last += [found] if found is not None else []
    assert passed == b"PREFACE" + b"".join(frame for frame in frames if frame != LEAVING)
    assert set(last) == ({7} if LEAVING in frames else set())
