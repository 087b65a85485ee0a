"""The walker alone: however a stream is cut, the same bytes go on, and nothing unsound ever does."""

import random
from collections.abc import Iterable

import pytest

from rtproxy.wire.frames import Walker, close_frame
from stage.rawpeer import BINARY, CLOSE, PING, PONG, TEXT, announced, close_payload, frame
from tests.rtproxy.goes import a_walker, all_of

MIB = 1024 * 1024
HELD_MAX = 144
"""The longest header and control frame, with room to spare."""
LENGTHS = (0, 1, 2, 124, 125, 126, 127, 65_535, 65_536)


def sent(opcode: int, payload: bytes, *, masked: bool, fin: bool = True) -> bytes:
    """A frame with a real mask where `stage.rawpeer.frame` has one of zeros."""
    whole = frame(opcode, payload, masked=masked, fin=fin)
    if not masked:
        return whole
    key = b"\x93\x07\xff\x41"
    start = len(whole) - len(payload)
    return whole[: start - 4] + key + bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))


def conversation(seed: int, *, masked: bool, lengths: Iterable[int], messages: int = 40) -> tuple[bytes, int]:
    """Messages whole and in fragments with control frames between them, and a Close of 4321; and how many frames."""
    rng = random.Random(seed)
    sizes = list(lengths)
    frames: list[bytes] = []

    def control() -> None:
        frames.append(sent(rng.choice((PING, PONG)), rng.randbytes(rng.choice((0, 1, 125))), masked=masked))

    for _ in range(messages):
        opcode = rng.choice((TEXT, BINARY))
        for left in range(rng.choice((0, 0, 1, 3)), -1, -1):
            frames.append(sent(opcode, rng.randbytes(rng.choice(sizes)), masked=masked, fin=left == 0))
            opcode = 0
            if rng.random() < 0.3:
                control()
    frames.append(sent(CLOSE, close_payload(4321, "bye"), masked=masked))
    return b"".join(frames), len(frames)


def walked(chunks: Iterable[bytes], *, masked: bool) -> tuple[Walker, bytes]:
    """A walker that was fed ``chunks``, and what it passed on, with the Close that it holds for others to pass on."""
    walker = a_walker(masked=masked)
    return walker, b"".join([all_of(walker, chunk) for chunk in chunks]) + walker.close


def cut(stream: bytes, rng: random.Random, longest: int) -> Iterable[bytes]:
    at = 0
    while at < len(stream):
        size = rng.randint(1, longest)
        yield stream[at : at + size]
        at += size


@pytest.mark.parametrize("masked", [True, False])
def test_everything_up_to_the_close_passes_when_a_stream_comes_whole(masked: bool) -> None:
    stream, frames = conversation(1, masked=masked, lengths=LENGTHS)
    walker, passed = walked([stream + b"after the close"], masked=masked)
    assert passed == stream
    assert (walker.count.frames, walker.halt, walker.code) == (frames, "close", 4321)


@pytest.mark.parametrize("masked", [True, False])
def test_the_same_passes_when_a_stream_is_cut_in_two_anywhere(masked: bool) -> None:
    stream, frames = conversation(2, masked=masked, lengths=LENGTHS[:7], messages=8)
    for at in range(len(stream) + 1):
        walker, passed = walked([stream[:at], stream[at:]], masked=masked)
        assert passed == stream, at
        assert (walker.count.frames, walker.halt, walker.code) == (frames, "close", 4321), at


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("longest", [1, 3, 17, 300, 70_000])
def test_the_same_passes_when_a_stream_is_cut_at_random(masked: bool, longest: int) -> None:
    lengths = LENGTHS if longest > 17 else LENGTHS[:7]
    stream, frames = conversation(longest, masked=masked, lengths=lengths)
    walker, passed = walked(cut(stream, random.Random(longest), longest), masked=masked)
    assert passed == stream
    assert (walker.count.frames, walker.halt, walker.code) == (frames, "close", 4321)


@pytest.mark.parametrize("masked", [True, False])
def test_what_passed_on_ends_in_a_data_frame_or_at_a_boundary(masked: bool) -> None:
    stream, _ = conversation(3, masked=masked, lengths=LENGTHS[:7])
    walker = a_walker(masked=masked)
    passed = b""
    for chunk in cut(stream, random.Random(3), 40):
        passed += all_of(walker, chunk)
        rest = bytes(walker.skip) + sent(PING, b"ours", masked=masked)
        _, forwarded = walked([passed + rest], masked=masked)
        assert forwarded == passed + rest or walker.halt == "close", "no room for a control frame of ours"


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("length", [5, 126, 65_536])
def test_a_header_never_passes_in_part(masked: bool, length: int) -> None:
    head = announced(TEXT, length, masked=masked)
    walker = a_walker(masked=masked)
    assert [walker.feed(head[i : i + 1]) for i in range(len(head) - 1)] == [b""] * (len(head) - 1)
    assert walker.feed(head[-1:]) == head
    assert walker.skip == length


@pytest.mark.parametrize("masked", [True, False])
def test_a_control_frame_never_passes_in_part(masked: bool) -> None:
    ping = sent(PING, b"p" * 125, masked=masked)
    walker = a_walker(masked=masked)
    assert walker.feed(ping[:-1]) == b""
    assert walker.feed(ping[-1:]) == ping


def test_little_is_held_back_whatever_comes() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        walker = a_walker(masked=rng.random() < 0.5)
        # A first byte that is often sound, or the walker would stop at once.
        fed = passed = 0
        for _ in range(rng.randint(1, 12)):
            chunk = bytes((rng.choice((0x81, 0x82, 0x01, 0x80, 0x89, 0x88, 0xFF)),)) + rng.randbytes(rng.randint(0, 60))
            fed += len(chunk)
            passed += len(walker.feed(chunk))
            assert walker.halt or fed - passed <= HELD_MAX


def faults(masked: bool) -> dict[str, bytes]:
    """What RFC 6455 section 5 and 7.4 forbid a peer to send."""

    def bad(opcode: int, payload: bytes = b"x", *, fin: bool = True, rsv: int = 0) -> bytes:
        return frame(opcode, payload, masked=masked, fin=fin, rsv=rsv)

    return (
        {f"reserved bit {bit} on a {name}": bad(opcode, rsv=bit) for bit in (1, 2, 4) for name, opcode in KINDS.items()}
        | {f"opcode {opcode}": bad(opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
        | {f"oversized {name}": bad(opcode, b"x" * 126) for name, opcode in CONTROLS.items()}
        | {f"fragmented {name}": bad(opcode, close_payload(1000), fin=False) for name, opcode in CONTROLS.items()}
        | {f"Close {code}": bad(CLOSE, close_payload(code)) for code in (0, 999, 1004, 1005, 1006, 1015, 1016)}
        | {f"Close {code}": bad(CLOSE, close_payload(code)) for code in (2999, 5000, 65_535)}
        | {
            "Close of one byte": bad(CLOSE),
            "wrong masking": frame(TEXT, b"x", masked=not masked),
            "wrong masking of a Ping": frame(PING, b"x", masked=not masked),
            "stray continuation": bad(0),
            "stray continuation that goes on": bad(0, fin=False),
            "message inside a message": bad(TEXT, fin=False) + bad(TEXT),
            "continuation after the last": bad(TEXT, fin=False) + bad(0) + bad(0),
        }
    )


CONTROLS = {"Close": CLOSE, "Ping": PING, "Pong": PONG}
KINDS = {"text": TEXT, "binary": BINARY} | CONTROLS


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("fault", faults(True))
def test_a_fault_stops_the_stream_before_the_frame(fault: str, masked: bool) -> None:
    before = sent(TEXT, b"sound", masked=masked)
    broken = faults(masked)[fault]
    walker, passed = walked([before + broken, sent(TEXT, b"after", masked=masked)], masked=masked)
    assert walker.halt == "fault"
    sound, last = walker.count.frames - 1, len(frame(TEXT, b"x", masked=masked))
    assert passed == before + broken[: sound * last], "the fault is the last frame of each of these"


@pytest.mark.parametrize("masked", [True, False])
def test_a_fault_is_one_however_its_header_is_cut(masked: bool) -> None:
    oversized = frame(PING, b"x" * 126, masked=masked)
    walker, passed = walked([oversized[i : i + 1] for i in range(len(oversized))], masked=masked)
    assert (walker.halt, passed) == ("fault", b"")


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
@pytest.mark.parametrize("masked", [True, False])
def test_a_sound_close_passes_and_its_code_is_read(code: int, masked: bool) -> None:
    close = sent(CLOSE, close_payload(code, "why"), masked=masked)
    walker, passed = walked([close], masked=masked)
    assert (walker.halt, walker.code, passed) == ("close", code, close)


def test_an_empty_close_passes_and_reads_as_1005() -> None:
    close = sent(CLOSE, b"", masked=True)
    walker, passed = walked([close], masked=True)
    assert (walker.halt, walker.code, passed) == ("close", 1005, close)


def test_nothing_passes_after_a_close() -> None:
    close = sent(CLOSE, close_payload(1000), masked=False)
    _, passed = walked([close, sent(TEXT, b"late", masked=False)], masked=False)
    assert passed == close


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("length", [16 * MIB + 1, 1 << 40, (1 << 64) - 1])
def test_a_frame_over_16_mib_stops_the_stream_at_its_header(length: int, masked: bool) -> None:
    before = sent(BINARY, b"sound", masked=masked)
    walker, passed = walked([before + announced(BINARY, length, masked=masked) + b"payload"], masked=masked)
    assert (walker.halt, passed) == ("too_big", before)


@pytest.mark.parametrize("masked", [True, False])
def test_a_frame_of_16_mib_passes_and_the_next_one_too(masked: bool) -> None:
    stream = frame(BINARY, bytes(16 * MIB), masked=masked) + frame(TEXT, b"next", masked=masked)
    walker, passed = walked([stream[:MIB], stream[MIB:]], masked=masked)
    assert passed == stream
    assert (walker.count.frames, walker.halt, walker.skip) == (2, "", 0)


def test_a_close_of_ours_is_bare_towards_a_client() -> None:
    assert close_frame(1012, "reconnect", masked=False) == b"\x88\x0b\x03\xf4reconnect"


def test_a_close_of_ours_is_masked_with_a_fresh_key_towards_the_model() -> None:
    closes = {close_frame(1001, "bye", masked=True) for _ in range(8)}
    assert len(closes) > 1
    for close in closes:
        key, payload = close[2:6], close[6:]
        assert close[:2] == b"\x88\x85"
        assert bytes(byte ^ key[i & 3] for i, byte in enumerate(payload)) == b"\x03\xe9bye"


@pytest.mark.parametrize("masked", [True, False])
def test_a_close_without_a_code_is_empty(masked: bool) -> None:
    assert close_frame(1005, "never said", masked=masked)[1] & 0x7F == 0


@pytest.mark.parametrize("code", [1006, 1015, 999, 5000])
def test_a_code_for_logs_only_never_becomes_a_close(code: int) -> None:
    with pytest.raises(AssertionError, match="never goes on the wire"):
        close_frame(code, "", masked=False)
