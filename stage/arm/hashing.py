"""`uniqueString` and `guid`, with the values that Azure gives them."""

import uuid

_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH = 13
_C1, _C2 = 0x239B961B, 0xAB0E9789
_ALL = 0xFFFFFFFF


def guid(*parts: str) -> str:
    """The UUIDv5 of the arguments."""
    return str(uuid.uuid5(_NAMESPACE, "-".join(parts)))


def unique_string(*parts: str) -> str:
    """The hash of the arguments, five bits a letter, the highest first."""
    value, found = _hash("-".join(parts).encode()), ""
    for _ in range(_LENGTH):
        found += _LETTERS[value >> 59]
        value = value << 5 & 0xFFFFFFFFFFFFFFFF
    return found


def _hash(data: bytes) -> int:
    """MurmurHash3 in two lanes of 32 bits, seed 0."""
    one = two = 0
    whole = len(data) - len(data) % 8
    for at in range(0, whole, 8):
        one ^= _first(data[at : at + 4])
        one = ((_turned(one, 19) + two) * 5 + 0x561CCD1B) & _ALL
        two ^= _second(data[at + 4 : at + 8])
        two = ((_turned(two, 13) + one) * 5 + 0x0BCAA747) & _ALL
    one ^= _first(data[whole : whole + 4]) ^ len(data)
    two ^= _second(data[whole + 4 :]) ^ len(data)
    one = one + two & _ALL
    two = two + one & _ALL
    one, two = _mixed(one), _mixed(two)
    one = one + two & _ALL
    return (two + one & _ALL) << 32 | one


def _first(word: bytes) -> int:
    return _turned(int.from_bytes(word, "little") * _C1 & _ALL, 15) * _C2 & _ALL


def _second(word: bytes) -> int:
    return _turned(int.from_bytes(word, "little") * _C2 & _ALL, 17) * _C1 & _ALL


def _mixed(lane: int) -> int:
    lane = (lane ^ lane >> 16) * 0x85EBCA6B & _ALL
    lane = (lane ^ lane >> 13) * 0xC2B2AE35 & _ALL
    return lane ^ lane >> 16


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _ALL
