"""What belief costs: a signed matrix read whole, and every verdict of it found by its name."""

import time
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric import ec

from bench.measure import Row
from bpfcompat import envelope
from bpfcompat.digest import digest_bytes, hex_of, raw_digest
from bpfcompat.manifest import MAX_MATRIX_BYTES, Matrix, matrix_payload, parse_matrix_statement
from bpfcompat.manifest import Row as Pair
from bpfcompat.model import Answer, Expectation

KERNELS = 250
STATEMENT = 2048  # bytes of a verdict's payload, about what one of two programs has


def manifest(quick: bool) -> Iterator[Row]:
    """From the bytes of a signed matrix to what each of its verdicts has to say, in this one process."""
    rows = _rows(10_000 if quick else 100_000)
    key = ec.generate_private_key(ec.SECP256R1())
    signed = envelope.sign(matrix_payload(Matrix(rows, 0, 1)), key, MAX_MATRIX_BYTES)
    payloads = [_payload(n) for n in range(len(rows))]
    whole, read = [], []
    for _ in range(3 if quick else 10):
        began = time.perf_counter()
        found = parse_matrix_statement(envelope.verify(signed, [key.public_key()], MAX_MATRIX_BYTES).payload)
        known, outcomes = found.rows.by_bundle, found.rows.outcomes  # type: ignore[attr-defined]
        read.append(time.perf_counter() - began)
        told = [outcomes[known[raw_digest(envelope.pae(payload))]] for payload in payloads]
        whole.append(time.perf_counter() - began)
        if len(told) != len(rows):
            raise AssertionError("a verdict is missing")
    yield Row(
        "manifest: read", tuple(read), note=_rate(read, len(rows), f"signature, {len(signed):,} bytes, every check")
    )
    yield Row("manifest", tuple(whole), note=_rate(whole, len(rows), f"and the hash of {STATEMENT} bytes a verdict"))


def _rate(seconds: list[float], rows: int, what: str) -> str:
    return f"{rows / sorted(seconds)[len(seconds) // 2] / 1000:,.0f} k rows/s: {what}"


def _payload(number: int) -> bytes:
    return b"%d " % number * (STATEMENT // len(b"%d " % number))


def _rows(count: int) -> list[Pair]:
    vmlinuz = [digest_bytes(b"kernel %d" % n) for n in range(KERNELS)]
    made = []
    for number in range(count):
        kernel, name = number // (count // KERNELS), f"o-{number % (count // KERNELS)}"
        outcome = (Answer.COMPATIBLE, "") if number % 3 else (Answer.INCOMPATIBLE, "helper-missing")
        made.append(Pair(name, digest_bytes(name.encode()), f"k-{kernel}", f"6.1.0-{kernel}", vmlinuz[kernel],
                         hex_of(digest_bytes(b"pair %d" % number)), envelope.pae_digest(_payload(number)),
                         *outcome, Expectation(None)))  # fmt: skip
    return made
