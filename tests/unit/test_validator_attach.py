"""What counts as attached: the validator's C, compiled for this host, with a kernel that says what a test lets it say.

Real kernels name what they took; here one does not, and that must be no answer.
"""

import shutil
import subprocess
from collections.abc import Callable

import pytest

from bpfcompat.errors import BpfcompatError
from bpfcompat.rules.session import open_session
from bpfcompat.validator import HERE
from bpfcompat.validator.build import headers
from bpfcompat.voice import Silent
from tests.hosting import ROOT

CC = shutil.which("cc")
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-static"]
UNUSED = "-Wl,--unresolved-symbols=ignore-all"  # most of libbpf is called by no test

pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")

HARNESS = r"""
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach_how.h"
#include "devices.h"

#define OWN 7
#define LO 1
#define VETH 2

/* what the kernel says, for lo and for the veth: errno of the link, the id that the link and the device name */
static struct { int refused, linked, runs; } says[3];
static int asked; /* the device of the last link */

int bpf_program__fd(const struct bpf_program *prog)
{
	(void)prog;
	return 3;
}

int device_index(const char *name)
{
	return !strcmp(name, DEVICE_LO) ? LO : says[VETH].refused < 0 ? 0 : VETH;
}

int bpf_link_create(int prog, int target, enum bpf_attach_type type, const struct bpf_link_create_opts *opts)
{
	(void)prog, (void)type, (void)opts;
	asked = target;
	errno = says[target].refused;
	return errno ? -1 : open("/dev/null", O_RDONLY);
}

int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *len)
{
	(void)fd, (void)len;
	((struct bpf_link_info *)info)->prog_id = says[asked].linked;
	return 0;
}

int bpf_xdp_query_id(int ifindex, int flags, __u32 *id)
{
	const int mode = ifindex == LO ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;

	*id = flags == mode ? says[ifindex].runs : 0; /* in no other mode */
	return 0;
}

const char *libbpf_bpf_link_type_str(enum bpf_link_type type)
{
	(void)type;
	return "xdp";
}

int main(int argc, char **argv)
{
	static struct attachment at = { .prog_id = OWN };
	struct attached done;

	for (int i = 0; argc == 7 && i < 6; i++)
		((int *)&says[LO])[i] = atoi(argv[1 + i]);
	done = family_xdp.hold(&at);
	printf("%s|%d|%s|%s", done.outcome, done.err, done.how, done.reason);
	return 0;
}
"""

Say = Callable[..., list[str]]


@pytest.fixture(scope="module")
def xdp(tmp_path_factory: pytest.TempPathFactory) -> Say:
    """Attach an XDP program where the kernel says (errno, the link's id, the device's id) of lo and of the veth."""
    folder, asker = tmp_path_factory.mktemp("attach"), open_session(ROOT, voice=Silent()).asker
    try:
        own = asker.tarball("", "validator")
    except BpfcompatError as error:
        pytest.skip(f"libbpf's source is not to be had: {error}")
    headers(own, own, folder / "include")
    (folder / "harness.c").write_text(HARNESS)
    sources = ["harness.c", *(str(HERE / name) for name in ("attach.c", "attach_proof.c", "attach_net.c"))]
    built = [str(CC), *FLAGS, UNUSED, f"-I{HERE}", "-isystem", "include", *sources, "-o", "harness"]
    subprocess.run(built, cwd=folder, check=True)

    def say(lo: tuple[int, int, int], veth: tuple[int, int, int]) -> list[str]:
        words = [str(number) for number in (*lo, *veth)]
        return subprocess.run([folder / "harness", *words], capture_output=True, text=True, check=True).stdout.split(
            "|"
        )

    return say


OWN, NO_VETH = (0, 7, 7), (-1, 0, 0)
REFUSED, NOT_RUN, NOT_LINKED = (22, 0, 0), (0, 7, 9), (0, 9, 7)


@pytest.mark.parametrize(
    ("lo", "veth", "outcome", "how", "reason"),
    [
        (OWN, OWN, "attached", "link: xdp on lo, generic; on veth0, native", ""),
        (OWN, NO_VETH, "attached", "link: xdp on lo, generic", ""),
        (OWN, REFUSED, "attached", "link: xdp on lo, generic", "native on veth0: Invalid argument"),
        (OWN, NOT_RUN, "attached", "link: xdp on lo, generic", "native on veth0: not proved"),
        (OWN, NOT_LINKED, "attached", "link: xdp on lo, generic", "native on veth0: not proved"),
        (REFUSED, OWN, "attached", "link: xdp on veth0, native", "generic on lo: Invalid argument"),
        (NOT_RUN, OWN, "attached", "link: xdp on veth0, native", "generic on lo: not proved"),
        (REFUSED, REFUSED, "failed", "link: xdp on lo, generic", "native on veth0: Invalid argument"),
        (NOT_RUN, NO_VETH, "not-attempted", "", "not proved"),
        (NOT_RUN, NOT_RUN, "not-attempted", "", "not proved"),
        (REFUSED, NOT_RUN, "not-attempted", "", "not proved"),
        (NOT_RUN, REFUSED, "not-attempted", "", "not proved"),
    ],
)  # fmt: skip
def test_xdp(
    lo: tuple[int, int, int], veth: tuple[int, int, int], outcome: str, how: str, reason: str, xdp: Say
) -> None:
    """XDP is attached where a link names the program and the device says that it runs it in that mode."""
    found = xdp(lo, veth)
    assert (found[0], found[2]) == (outcome, how)
    assert found[3].startswith(reason) and bool(found[3]) == bool(reason)
