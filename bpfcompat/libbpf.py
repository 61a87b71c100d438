"""What libbpf itself says, asked through cffi in ABI mode: kernel headers from BTF, and the type a section name has.

The library is always named by path, because its build is an input like any other; nothing here searches for one,
loads a program or touches the host's kernel.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI

from bpfcompat.errors import BuildError
from bpfcompat.files import write_atomic

MAX_BTF = 64 << 20
MAX_TYPES = 1 << 20
MAX_HEADER = 256 << 20

_HEAD = b"""#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

"""
_TAIL = b"""
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""

_ffi = FFI()
# vfprintf is declared for its address only: libbpf calls it, with a real va_list, as the printer of btf_dump.
_ffi.cdef("""
int vfprintf(void *stream, const char *format, void *args);
void *fdopen(int fd, const char *mode);
int fclose(void *stream);
void *libbpf_set_print(void *printer);
const char *libbpf_version_string(void);
int libbpf_prog_type_by_name(const char *name, int *prog_type, int *attach_type);
const char *libbpf_bpf_prog_type_str(int type);
const char *libbpf_bpf_attach_type_str(int type);
void *btf__new(const void *data, uint32_t size);
uint32_t btf__type_cnt(const void *btf);
void btf__free(void *btf);
void *btf_dump__new(const void *btf, void *printer, void *context, const void *options);
int btf_dump__dump_type(void *dump, uint32_t id);
void btf_dump__free(void *dump);
""")


@cache
def _library(path: Path) -> Any:
    try:
        library: Any = _ffi.dlopen(str(path.resolve()))
        library.libbpf_set_print(_ffi.NULL)
    except (OSError, AttributeError) as error:
        raise BuildError(f"libbpf '{path}': expected a loadable libbpf.so of 1.0 or later, got: {error}") from error
    return library


@cache
def _libc() -> Any:
    return _ffi.dlopen(None)


def version(libbpf_so: Path) -> str:
    """The library's own version string, such as `v1.7`; BuildError if it cannot be loaded."""
    return _text(_library(libbpf_so).libbpf_version_string())


def section_type(libbpf_so: Path, section: str) -> tuple[str, str] | None:
    """Program and attach type that libbpf gives to a section name, or None when the name has no type.

    Both in libbpf's own words: `("tracing", "trace_fentry")`.  A leading `?` (do not load by default) is not part
    of the name.  A type without attach types still answers the first of all: libbpf has no word for none.
    """
    library = _library(libbpf_so)
    program, attach = _ffi.new("int *"), _ffi.new("int *")
    name = section.removeprefix("?").encode("utf-8", "replace")
    if b"\0" in name or library.libbpf_prog_type_by_name(name, program, attach) < 0:
        return None
    return _text(library.libbpf_bpf_prog_type_str(program[0])), _text(library.libbpf_bpf_attach_type_str(attach[0]))


def dump_header(libbpf_so: Path, btf: bytes, out: Path) -> None:
    """Write the C declarations of a kernel's raw BTF (a `vmlinux.h`) to a path, whole or not at all.

    Every record keeps its access index, so that what is compiled against it is relocated when it is loaded.  The
    same library and bytes give the same header.  Raises BuildError for BTF that libbpf does not take.
    """
    if not 0 < len(btf) <= MAX_BTF:
        raise BuildError(f"kernel BTF: expected 1 to {MAX_BTF} bytes, got {len(btf)}")
    library = _library(libbpf_so)
    with tempfile.TemporaryFile() as scratch, _parsed(library, btf) as types:
        with _printing_to(library, types, scratch.fileno()) as dump:
            _dump_types(library, types, dump)
        size = os.fstat(scratch.fileno()).st_size
        if size > MAX_HEADER:
            raise BuildError(f"kernel BTF: header of {size} bytes, at most {MAX_HEADER} expected")
        write_atomic(out, _HEAD + os.pread(scratch.fileno(), size, 0) + _TAIL)


def _dump_types(library: Any, types: Any, dump: Any) -> None:
    count = library.btf__type_cnt(types)
    if count > MAX_TYPES:
        raise BuildError(f"kernel BTF: {count} types, at most {MAX_TYPES} expected")
    for number in range(1, count):
        code = library.btf_dump__dump_type(dump, number)
        if code < 0:
            raise BuildError(f"kernel BTF: type {number} of {count}: libbpf cannot print it: {os.strerror(-code)}")


@contextlib.contextmanager
def _parsed(library: Any, btf: bytes) -> Iterator[Any]:
    types = library.btf__new(btf, len(btf))
    if types == _ffi.NULL:
        raise BuildError(f"kernel BTF: libbpf cannot read it: {os.strerror(_ffi.errno)}")
    try:
        yield types
    finally:
        library.btf__free(types)


@contextlib.contextmanager
def _printing_to(library: Any, types: Any, fd: int) -> Iterator[Any]:
    """A btf_dump whose printer is libc's vfprintf on a stream of its own over `fd`: no call back into Python."""
    libc = _libc()
    stream = libc.fdopen(os.dup(fd), b"w")
    if stream == _ffi.NULL:
        raise BuildError(f"kernel BTF: cannot open a stream: {os.strerror(_ffi.errno)}")
    dump = _ffi.NULL
    failed = 0
    try:
        printer = _ffi.cast("void *", _ffi.addressof(libc, "vfprintf"))
        dump = library.btf_dump__new(types, printer, stream, _ffi.NULL)
        if dump == _ffi.NULL:
            raise BuildError(f"kernel BTF: libbpf cannot print it: {os.strerror(_ffi.errno)}")
        yield dump
    finally:
        if dump != _ffi.NULL:
            library.btf_dump__free(dump)
        failed = libc.fclose(stream)
    if failed:  # the last writes reach the disk here, so a full one shows here
        raise BuildError(f"kernel BTF: cannot write the header: {os.strerror(_ffi.errno)}")


def _text(pointer: Any) -> str:
    if pointer == _ffi.NULL:
        return ""
    found = _ffi.string(pointer)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
