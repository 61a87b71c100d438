"""The `.BTF` section of a kernel, as bytes.  Finds it and checks its header; does not read types.

Formats: elf(5); the header of Documentation/bpf/btf.rst.  Little-endian 64-bit files only, which vmlinux is on every
architecture we boot.
"""

import struct

from bpfcompat.errors import KernelError

_ELF64_LITTLE = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_HEADER = struct.Struct("<HBBIIIII")
_MAGIC = 0xEB9F
_SHT_NOBITS = 8


def btf_section(vmlinux: bytes) -> bytes | None:
    """The section's bytes, or None when the kernel was built without BTF; KernelError for a damaged file."""
    try:
        found = named_section(vmlinux, b".BTF")
    except (struct.error, OverflowError) as error:
        raise KernelError(f"vmlinux: damaged: {error}") from error
    if found is not None:
        check_header(found)
    return found


def check_header(btf: bytes) -> None:
    """KernelError unless these bytes begin with a BTF header (version 1) whose parts lie inside them."""
    if len(btf) < _HEADER.size:
        raise KernelError(f"btf: expected a header of {_HEADER.size} bytes, got {len(btf)} bytes in all")
    magic, version, _, length, type_at, types, string_at, strings = _HEADER.unpack_from(btf)
    if (magic, version) != (_MAGIC, 1):
        raise KernelError(f"btf: expected magic {_MAGIC:#x} and version 1, got {magic:#x} and {version}")
    end = length + max(type_at + types, string_at + strings)
    if length < _HEADER.size or end > len(btf):
        raise KernelError(f"btf: header of {length} bytes and parts up to {end}, but {len(btf)} bytes in all")


def named_section(elf: bytes, wanted: bytes) -> bytes | None:
    """Contents of the first section of this name; struct.error or OverflowError when a table is outside the file."""
    if not elf.startswith(_ELF64_LITTLE):
        raise KernelError("vmlinux: expected a little-endian 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry, count, names_at = struct.unpack_from("<HHH", elf, 0x3A)
    if entry < _SECTION.size or names_at >= count:
        return None
    sections = [_SECTION.unpack_from(elf, table + i * entry) for i in range(count)]
    names = _contents(elf, sections[names_at])
    for section in sections:
        name = names[section[0] : section[0] + len(wanted) + 1]
        if name == wanted + b"\0" and section[1] != _SHT_NOBITS:
            return _contents(elf, section)
    return None


def _contents(elf: bytes, section: tuple[int, ...]) -> bytes:
    offset, size = section[4], section[5]
    if offset + size > len(elf):
        raise KernelError(f"vmlinux: damaged: a section of {size} bytes at {offset}, the file has {len(elf)}")
    return elf[offset : offset + size]
