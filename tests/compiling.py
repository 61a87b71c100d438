"""Objects compiled by the tests themselves, with clang alone: no headers, no kernel, no network."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PRELUDE = """
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define CORE __attribute__((preserve_access_index))
#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))
#define __uint(name, value) int (*name)[value]
#define __type(name, of) typeof(of) *name
#define FIELD(expression, kind) __builtin_preserve_field_info(expression, kind)
#define TYPE(of, kind) __builtin_preserve_type_info(*((typeof(of) *)0), kind)
#define TYPE_ID(of, kind) __builtin_btf_type_id(*((typeof(of) *)0), kind)
#define ENUMVAL(of, value, kind) __builtin_preserve_enum_value(*(typeof(of) *)value, kind)
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static long (*bpf_loop)(u32 times, void *callback, void *context, u64 flags) = (void *)181;
char LICENSE[] SEC("license") = "GPL";
"""


@cache
def compiled(source: str, *flags: str) -> bytes:
    """The object of a C source; skipped for a person without clang, a failure in CI."""
    clang = shutil.which("clang")
    if clang is None:
        reason = "clang is not installed"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.bpf.c"
        made.write_text(PRELUDE + source)
        argv = [
            str(clang),
            "-O2",
            "-g",
            "-target",
            "bpf",
            "-mcpu=v3",
            *flags,
            "-c",
            str(made),
            "-o",
            f"{folder}/made.o",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return Path(f"{folder}/made.o").read_bytes()
