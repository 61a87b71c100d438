"""Ed25519 points: the edge encodings are computed here, and none of them is a key that loads."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from bpfcompat.edwards import L, P, why_not
from bpfcompat.errors import TrustError
from bpfcompat.keys import load_log_raw, raw_public

ROOT = pow(2, (P - 1) // 4, P)
D = -121665 * pow(121666, P - 2, P) % P
Affine = tuple[int, int]


def square_root(n: int) -> int | None:
    """A root of n modulo P, None when there is none."""
    found = pow(n, (P + 3) // 8, P)
    return next((x for x in (found, found * ROOT % P) if x * x % P == n % P), None)


def plus(a: Affine, b: Affine) -> Affine:
    """The curve's law in affine coordinates, straight from its definition: another way than the module's."""
    both = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + both, P - 2, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - both, P - 2, P)
    return x % P, y % P


def times(n: int, point: Affine) -> Affine:
    """A multiple of a point."""
    found = (0, 1)
    for bit in bin(n)[2:]:
        found = plus(found, found)
        found = plus(found, point) if bit == "1" else found
    return found


def torsion() -> list[Affine]:
    """The eight points of small order: multiples of L times points of the curve, until there are all."""
    found: set[Affine] = set()
    y = 2
    while len(found) < 8:
        x = square_root((y * y - 1) * pow(D * y * y + 1, P - 2, P))
        if x is not None:
            point = times(L, (x, y))
            found |= {times(n, point) for n in range(8)}
        y += 1
    return sorted(found)


def packed(x: int, y: int, sign: int | None = None) -> bytes:
    """A point's 32 bytes; with `sign`, that sign whatever x is."""
    return (y | (x & 1 if sign is None else sign) << 255).to_bytes(32, "little")


SMALL = torsion()
BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = next((x, BASE_Y) for x in [square_root((BASE_Y**2 - 1) * pow(D * BASE_Y**2 + 1, P - 2, P)) or 0])


def edges() -> dict[str, bytes]:
    """Every encoding that reads as a point of small order, and others that no honest key has."""
    found = {f"order 1 to 8, number {n}": packed(*point) for n, point in enumerate(SMALL)}
    for n, (_x, y) in enumerate(SMALL):
        for sign in (0, 1):
            found[f"either sign, {n}/{sign}"] = packed(0, y, sign)
            if y + P < 1 << 255:
                found[f"y + p, {n}/{sign}"] = packed(0, y + P, sign)
    found |= {f"y = p + {y}": packed(0, y + P, 0) for y in range(19)}
    found |= {f"mixed order {n}": packed(*plus(BASE, point)) for n, point in enumerate(SMALL) if point != (0, 1)}
    found["zero"] = bytes(32)
    found["all ones"] = b"\xff" * 32
    return found


EDGES = edges()


def test_there_are_eight() -> None:
    """The small subgroup that is computed here is the whole one."""
    assert len(SMALL) == 8 and all(times(8, point) == (0, 1) for point in SMALL)
    assert len(set(EDGES.values())) == 39


@pytest.mark.parametrize("name", EDGES)
def test_no_edge_loads(name: str) -> None:
    """No key of small or mixed order, and no second spelling of any, loads."""
    with pytest.raises(TrustError, match="expected an Ed25519 key, got"):
        load_log_raw(EDGES[name])


def test_why_it_matters() -> None:
    """The library alone takes a key of order one, and a signature for it that nobody made, over any message."""
    key = ed25519.Ed25519PublicKey.from_public_bytes(packed(0, 1))
    key.verify(packed(0, 1) + bytes(32), b"whatever")


def test_off_the_curve() -> None:
    """A y without an x is no key; neither is another number of bytes."""
    off = next(y for y in range(2, 99) if square_root((y * y - 1) * pow(D * y * y + 1, P - 2, P)) is None)
    assert why_not(packed(0, off)) == "not a point of the curve"
    for length in (0, 31, 33, 64):
        assert why_not(bytes(length)) == f"{length} bytes, expected 32"


def test_honest_keys_load() -> None:
    """Keys that were made load, and so does the base point, whose private half is only odd."""
    for _ in range(20):
        raw = raw_public(ed25519.Ed25519PrivateKey.generate().public_key())
        assert raw_public(load_log_raw(raw)) == raw
    assert why_not(packed(*BASE)) == ""
