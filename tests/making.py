"""Small kernels and packages made by the tests themselves: no binary is stored in the repository."""

import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable, Iterable, Mapping

RELEASE = "6.1.0-9-cloud-amd64"


def make_btf(types: bytes = b"", strings: bytes = b"\0") -> bytes:
    """A BTF header (version 1) and its two parts."""
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def make_elf(sections: Mapping[str, bytes]) -> bytes:
    """A little-endian 64-bit ELF file with these sections and nothing else."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    contents = [*sections.values(), names]
    body, headers, at = b"", [struct.pack("<IIQQQQIIQQ", *([0] * 10))], 1
    for name, data in zip((*sections, ".shstrtab"), contents, strict=True):
        headers.append(struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, 64 + len(body), len(data), 0, 0, 1, 0))
        body += data
        at += len(name) + 1
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(headers), len(headers) - 1
    )
    return ident + head + body + b"".join(headers)


def make_vmlinuz(vmlinux: bytes, release: str = RELEASE, pack: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    """A bzImage of boot protocol 2.15 around a packed vmlinux, sized as the kernel's build does it."""
    packed = pack(vmlinux)
    payload = packed if pack is gzip.compress else packed + struct.pack("<I", len(vmlinux))
    head = bytearray(2 * 512)
    head[0x1F1] = 1
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<H", head, 0x20E, 0x100)
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    head[0x300 : 0x300 + len(release) + 10] = release.encode() + b" (nobody) "
    return bytes(head) + bytes(16) + payload


def make_kernel(release: str = RELEASE) -> bytes:
    """A vmlinuz with BTF inside, as far as anything but a CPU can tell."""
    return make_vmlinuz(make_elf({".text": b"\x90" * 64, ".BTF": make_btf()}), release)


def make_tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar archive of regular files, named as dpkg-deb names them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members:
            header = tarfile.TarInfo(f"./{name}")
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def make_ar(parts: Mapping[str, bytes]) -> bytes:
    """An ar archive."""
    out = b"!<arch>\n"
    for name, data in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def make_deb(members: Mapping[str, bytes]) -> bytes:
    """A Debian package of these files."""
    control = lzma.compress(make_tar([("control", b"Package: x\n")]))
    data = lzma.compress(make_tar(members.items()))
    return make_ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.xz": data})


def make_module(release: str = RELEASE, kfuncs: Iterable[str] = (), **info: str) -> bytes:
    """A kernel module as far as its .modinfo goes, with the symbols that a list of kfuncs leaves."""
    words = [f"{key}={value}" for key, value in info.items()] + [f"vermagic={release} SMP mod_unload"]
    names = [f"__BTF_ID__func__{name}__{n}" for n, name in enumerate(kfuncs, 1)]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    return make_elf({".modinfo": b"".join(w.encode() + b"\0" for w in words), ".strtab": strings})
