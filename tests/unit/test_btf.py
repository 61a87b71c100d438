"""Finding .BTF in ELF files that are made here, whole and damaged."""

import struct

import pytest

from bpfcompat.btf import btf_section, check_header
from bpfcompat.errors import KernelError
from tests.making import make_btf, make_elf


def test_found() -> None:
    """The section comes back byte for byte, whatever stands around it."""
    btf = make_btf(b"types!", b"\0strings\0")
    assert btf_section(make_elf({".text": b"x" * 99, ".BTF": btf, ".BTF.ext": b"y", ".data": b"z"})) == btf


def test_absent() -> None:
    """A kernel without BTF has none, which is an answer and no error; .BTF_ids is another section."""
    assert btf_section(make_elf({".text": b"x", ".BTF_ids": b"y"})) is None


def test_longer_header() -> None:
    """A header may be longer than the one we know: its own length counts."""
    known = bytearray(make_btf(b"types!"))
    struct.pack_into("<I", known, 4, 32)
    check_header(bytes(known[:24]) + bytes(8) + bytes(known[24:]))


@pytest.mark.parametrize(
    "btf",
    [b"", b"\x9f\xeb\x01", make_btf().replace(b"\x9f\xeb", b"\xeb\x9f"), make_btf(b"types")[:-3],
     struct.pack("<HBBIIIII", 0xEB9F, 2, 0, 24, 0, 0, 0, 0), struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 8, 0, 0, 0, 0),
     struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 2**32 - 1, 2**32 - 1, 0, 0)],
)  # fmt: skip
def test_bad_header(btf: bytes) -> None:
    """Another magic, version, byte order, or parts that end outside: refused."""
    with pytest.raises(KernelError, match="btf: "):
        btf_section(make_elf({".BTF": btf}))


@pytest.mark.hostile
def test_damaged() -> None:
    """No cut and no changed byte of the ELF header makes anything but a result or a KernelError."""
    elf = make_elf({".text": b"x", ".BTF": make_btf()})
    damaged = [elf[:n] for n in range(len(elf))]
    damaged += [elf[:n] + bytes([value]) + elf[n + 1 :] for n in range(64) for value in (0, 0x7F, 0xFF)]
    for data in damaged:
        try:
            assert btf_section(data) in (None, make_btf())
        except KernelError as error:
            assert error.message
