"""The validator's reading of hex, with sanitizers: what the host writes is read whole, and nothing behind it."""

import subprocess
from collections.abc import Callable

import pytest

from tests.harness import CC, built

HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hex.h"

int main(int argc, char **argv)
{
	size_t room = atol(argv[1]), len;
	unsigned char *into = malloc(room ? room : 1); /* exact, so that a sanitizer sees each byte too many */
	char *hex = strdup(argv[argc - 1]);

	len = from_hex(hex, into, room);
	printf("%zu ", len);
	for (size_t i = 0; i < len; i++)
		printf("%d,", into[i]);
	free(into);
	free(hex);
}
"""
Read = Callable[[str, int], bytes]

pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The bytes of a text, into room for so many."""
    program = built(tmp_path_factory.mktemp("hex"), HARNESS, "hex.c")

    def run(text: str, room: int) -> bytes:
        ran = subprocess.run([program, str(room), text], check=False, capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
        count, _, found = ran.stdout.partition(" ")
        told = bytes(int(number) for number in found.split(",") if number)
        assert len(told) == int(count)
        return told

    return run


def test_every_byte(read: Read) -> None:
    """Each byte is read back from what the host writes for it."""
    every = bytes(range(256))
    assert read(every.hex(), 256) == every
    assert read(every.hex(), 1000) == every


@pytest.mark.parametrize(
    ("text", "room", "found"),
    [
        ("", 4, ""), ("00", 0, ""), ("0102", 1, "01"), ("01020", 4, "0102"), ("0", 4, ""), ("01g0", 4, "01"),
        ("010g", 4, "01"), ("AB", 4, ""), ("0x01", 4, ""), (" 01", 4, ""), ("-1", 4, ""), ("01:02", 4, "01"),
        ("é0", 4, ""),
    ],
)  # fmt: skip
def test_what_is_no_hex(text: str, room: int, found: str, read: Read) -> None:
    """Reading ends where the room does, and at the first pair that is not whole or not of lower-case digits."""
    assert read(text, room).hex() == found
