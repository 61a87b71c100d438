"""Is a 32-byte Ed25519 public key one that somebody's signature needs?  Points of edwards25519, RFC 8032 5.1.

For a key of small order signatures can be written without any private key, and OpenSSL believes them.  A key with two
spellings, or with a small-order part, is read differently by different verifiers.  No key that was made honestly is
one of these: they are refused when keys are loaded.
"""

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493  # order of the group that honest keys are in
_D = -121665 * pow(121666, P - 2, P) % P
_ROOT = pow(2, (P - 1) // 4, P)  # of -1

Point = tuple[int, int, int, int]  # extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z
_ZERO: Point = (0, 1, 1, 0)


def why_not(raw: bytes) -> str:
    """Why these 32 bytes are no acceptable public key, in words; empty when they are one."""
    if len(raw) != 32:
        return f"{len(raw)} bytes, expected 32"
    y, sign = int.from_bytes(raw, "little") & (1 << 255) - 1, raw[31] >> 7
    if y >= P:
        return "not in its one canonical spelling"
    x = _x_of(y)
    if x is None:
        return "not a point of the curve"
    if x == 0 and sign:
        return "not in its one canonical spelling"
    point = (x, y, 1, x * y % P)
    if _is_zero(_times(8, point)):
        return "a point of small order: signatures hold that nobody made"
    return "" if _is_zero(_times(L, point)) else "a point with a part of small order"


def _x_of(y: int) -> int | None:
    """One of the two x for a y; the other one has the same order."""
    square = (y * y - 1) * pow(_D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    return next((root for root in (x, x * _ROOT % P) if root * root % P == square), None)


def _add(a: Point, b: Point) -> Point:
    """The sum, by the formulas that are complete for this curve (RFC 8032 5.1.4)."""
    p, q = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    r, s = 2 * a[3] * b[3] * _D % P, 2 * a[2] * b[2] % P
    e, f, g, h = q - p, s - r, s + r, q + p
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n: int, point: Point) -> Point:
    found = _ZERO
    while n:
        found = _add(found, point) if n & 1 else found
        point = _add(point, point)
        n >>= 1
    return found


def _is_zero(point: Point) -> bool:
    return point[0] == 0 and (point[1] - point[2]) % P == 0
