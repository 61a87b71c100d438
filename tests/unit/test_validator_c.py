"""The validator's C that needs no kernel, compiled for this host with sanitizers and held against Python."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bpfcompat import wire
from bpfcompat.errors import BpfcompatError
from bpfcompat.model import Attach
from bpfcompat.rules.session import open_session
from bpfcompat.validator import HERE
from bpfcompat.validator.build import headers
from bpfcompat.voice import Silent
from tests.harness import CC, WARNINGS, built
from tests.hosting import ROOT

NONCE = "00112233445566778899aabbccddeeff"

pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")

HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "report.h"
#include "sha256.h"
#include "squeeze.h"

static char input[1 << 20];
static unsigned int seq;
static struct report report = { .fd = 1, .nonce = "00112233445566778899aabbccddeeff", .seq = &seq };

static void frame_hello(void)
{
	struct json json = { 0 };

	report_begin(&json, "hello");
	json_string(&json, "release", "r");
	json_string(&json, "version", NULL);
	json_string(&json, "machine", "m");
	json_bool(&json, "btf", true);
	json_bool(&json, "config", false);
	json_string(&json, "libbpf", "1.7.0");
	json_null(&json, "lsm");
	json_null(&json, "lockdown");
	json_open(&json, "sysctls", '{');
	json_number(&json, "a", -1);
	json_null(&json, "b");
	json_close(&json, '}');
	json_open(&json, "unmounted", '[');
	json_close(&json, ']');
	report_frame(&report, &json);
}

static void tell_program(struct json *json, const char *name, size_t len)
{
	json_bytes(json, "name", name, len);
	json_string(json, "section", "xdp");
	json_string(json, "type", "xdp");
	json_bool(json, "autoload", true);
}

static void frame_open(const char *name, size_t len)
{
	struct json json = { 0 };

	report_begin(&json, "open");
	json_number(&json, "errno", 0);
	json_text(&json, "log", (struct text){ name, len, true });
	json_open(&json, "programs", '[');
	for (int i = 0; i < 2; i++) {
		json_open(&json, NULL, '{');
		tell_program(&json, name, len);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	json_open(&json, "maps", '[');
	json_close(&json, ']');
	report_frame(&report, &json);
}

static void frame_load(struct text text)
{
	struct json json = { 0 };

	report_begin(&json, "load");
	json_number(&json, "errno", 13);
	json_text(&json, "log", (struct text){ 0 });
	json_log(&json, "verifier", text);
	json_null(&json, "btf");
	json_log(&json, "relocations", (struct text){ 0 });
	report_frame(&report, &json);
	report_begin(&json, "maps");
	json_open(&json, "created", '[');
	json_close(&json, ']');
	report_frame(&report, &json);
}

static void frame_program(const char *name, size_t len)
{
	struct json json = { 0 };

	report_begin(&json, "program");
	tell_program(&json, name, len);
	json_number(&json, "load_errno", 0);
	json_log(&json, "verifier", (struct text){ 0 });
	json_number(&json, "insns", 2);
	json_number(&json, "line_info", 0);
	json_string(&json, "counts", "");
	json_open(&json, "cost", '{');
	json_number(&json, "jited", 0);
	json_number(&json, "verify_us", -1);
	json_close(&json, '}');
	json_log(&json, "relocations", (struct text){ 0 });
	json_string(&json, "attach", "failed");
	json_number(&json, "attach_errno", 2);
	json_string(&json, "reason", "");
	json_string(&json, "how", "libbpf");
	json_text(&json, "libbpf", (struct text){ name, len, false });
	report_frame(&report, &json);
}

static void frame_end(void)
{
	struct json json = { 0 };

	report_begin(&json, "end");
	json_number(&json, "frames", seq);
	report_frame(&report, &json);
}

int main(int argc, char **argv)
{
	size_t len = fread(input, 1, sizeof(input), stdin);
	char *exact = malloc(len ? len : 1); /* so that a sanitizer sees each byte read too many */
	char hash[SHA256_HEX];
	struct text text;

	memcpy(exact, input, len);
	text = text_tail((struct text){ exact, len, false }, argc > 2 ? atol(argv[2]) : 1 << 20);
	if (!strcmp(argv[1], "sha256")) {
		sha256_hex(exact, len, hash);
		puts(hash);
	} else {
		frame_hello();
		frame_open(exact, len);
		frame_load(text);
		frame_program(exact, len);
		frame_program(exact, len);
		frame_end();
	}
	free(exact);
	return 0;
}
"""

Harness = Callable[..., bytes]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    folder = tmp_path_factory.mktemp("validator")
    program = built(folder, HARNESS, "report.c", "sha256.c", "squeeze.c", more=("-lz",))

    def run(*words: str, given: bytes) -> bytes:
        return subprocess.run([str(program), *words], input=given, stdout=subprocess.PIPE, check=True).stdout

    return run


few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("size", [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 100_000])
def test_sha256(harness: Harness, size: int) -> None:
    """The hash is SHA-256 on both sides of each border of its padding."""
    data = bytes(n * 7 % 251 for n in range(size))
    assert harness("sha256", given=data).decode().strip() == hashlib.sha256(data).hexdigest()


@few
@given(st.binary(max_size=300))
@example(b'"\\\x00\x01\x1f\x7f\n\t\r')
@example("é € 𝄞 \ufffd".encode())
@example(b"\xed\xa0\x80 \xf4\x90\x80\x80 \xc0\xaf \xe0\x80\x80 \xf0\x80\x80\x80 \xff \xe2\x82 \xf0\x9d\x84")
def test_any_bytes_become_text(harness: Harness, data: bytes) -> None:
    """What is UTF-8 arrives as it is; what is not arrives as Python itself would replace it."""
    report = wire.parse(harness("report", given=data), NONCE)
    text = data.decode("utf-8", "replace")
    assert [program.name for program in report.programs] == [text, text]
    assert report.open_log.text == text
    assert report.programs[0].attach is Attach.FAILED


def test_a_large_log(harness: Harness) -> None:
    """A log of a megabyte, all of it escaped, arrives whole."""
    data = b'\x01"' * (1 << 19)
    assert wire.parse(harness("report", given=data), NONCE).load_log.text == data.decode()


@few
@given(st.binary(min_size=1025, max_size=3000))
@example(b"\n" * 4096)
@example(bytes(range(256)) * 1500)
def test_a_long_log_is_deflated(harness: Harness, data: bytes) -> None:
    """Beyond a kilobyte a log travels deflated; where a report holds its end only, the whole is beside."""
    report = harness("report", given=data)
    assert b'"deflated":' in report
    whole, short = wire.parse(report, NONCE).load_log, wire.parse(report, NONCE, log_max=1000).load_log
    assert whole.text == data.decode("utf-8", "replace")
    assert short.whole == whole.text
    assert short.left_out >= len(data) - 1000
    assert whole.text.endswith(short.text.lstrip("\ufffd"))  # it may begin within a character


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [("a\nbb\nccc\n", 100, None), ("a\nbb\nccc\n", 9, None), ("a\nbb\nccc\n", 5, "ccc\n"),
     ("a\nbb\nccc\n", 8, "bb\nccc\n"), ("abcdef", 3, "def"), ("abc\n", 3, "bc\n"), ("", 0, None)],
)  # fmt: skip
def test_a_log_keeps_its_end(harness: Harness, text: str, most: int, kept: str | None) -> None:
    """A log that is too long keeps whole lines of its end, and says that it was cut."""
    log = wire.parse(harness("report", str(most), given=text.encode()), NONCE).load_log
    assert (log.text, log.cut) == ((text, False) if kept is None else (kept, True))


@pytest.mark.parametrize("loader", ["", "1.1", "1.4", "1.7"])
def test_no_warnings(loader: str, tmp_path: Path) -> None:
    """Every source compiles without a warning, with the project's own libbpf and with each that is a loader."""
    asker = open_session(ROOT, voice=Silent()).asker
    try:
        own, tarball = (asker.tarball(name, "validator") for name in ("", loader))
    except BpfcompatError as error:
        pytest.skip(f"libbpf's source is not to be had: {error}")
    headers(tarball, own, tmp_path / "include")
    sources = sorted(str(path) for path in HERE.glob("*.c"))
    told = ['-DLIBBPF_RELEASE="0"', "-DLIBBPF_FEATURES=0", '-DTARGET_BUILT="target"']
    options = [*WARNINGS, *told, "-fsyntax-only", "-isystem", "include"]
    done = subprocess.run([str(CC), *options, *sources], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bodies_are_one_line(harness: Harness) -> None:
    """A body holds no raw line feed, so a line that starts with the magic is always a frame's first."""
    lines = harness("report", given=b"a\nBPFC1 b\n").splitlines()
    assert [line.startswith(b"BPFC1 ") for line in lines] == [True, False] * 7
    assert all(json.loads(line) for line in lines[1::2])
