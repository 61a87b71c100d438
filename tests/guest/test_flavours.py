"""Two flavours of one release are two kernels: a version says nothing, only the build's own answer does."""

from pathlib import Path

import pytest

from bpfcompat.asking import Asker
from bpfcompat.config import object_spec
from bpfcompat.model import Answer, Attach
from bpfcompat.plan import Pair
from tests.guest.conftest import ROOT
from tests.guest.test_command import asking
from tests.guest.test_detail import Build, build  # noqa: F401  (fixture)

pytestmark = pytest.mark.guest

CLOUD, GENERIC = "debian-13-backports", "debian-13-generic-7"
HID = """#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct hid_bpf_ops { int (*hid_device_event)(void *ctx, int type, unsigned long long source); };
SEC("struct_ops/hid_device_event") int event(void *ctx) { return 0; }
SEC(".struct_ops.link") struct hid_bpf_ops ops = { .hid_device_event = (void *)event };
"""


def test_hid(build: Build, tmp_path: Path) -> None:  # noqa: F811
    """HID-BPF loads on the generic flavour, and on the cloud flavour of the same release it does not."""
    (tmp_path / "hid.bpf.o").write_bytes(build(HID))
    asker = asking(object_spec("hid", {"prebuilt": str(tmp_path / "hid.bpf.o"), "attach": "load"}, ROOT, "test"))
    cloud, generic = (asker.kernel(name).release for name in (CLOUD, GENERIC))
    assert cloud.replace("-cloud", "") == generic
    assert asker.verdict(Pair("hid", GENERIC)).answer is Answer.COMPATIBLE
    assert asker.verdict(Pair("hid", CLOUD)).answer is Answer.INCOMPATIBLE


SCHEDULED = {"debian-13": False, CLOUD: True, GENERIC: True}


@pytest.mark.parametrize("kernel", SCHEDULED)
def test_sched_ext(kernel: str, asker: Asker) -> None:
    """A scheduler attaches where the kernel was built with sched_ext, by its configuration and not by its version."""
    pair = Pair("sched_ext", kernel)
    assert (asker.build(kernel).option("CONFIG_SCHED_CLASS_EXT") == "y") is SCHEDULED[kernel]
    found = {p.attach for p in asker.report(pair).programs}
    assert found == {Attach.ATTACHED if SCHEDULED[kernel] else Attach.NOT_ATTEMPTED}
    verdict = asker.verdict(pair)
    assert verdict.answer is (Answer.COMPATIBLE if SCHEDULED[kernel] else Answer.INCOMPATIBLE)
    assert SCHEDULED[kernel] or "sched_ext_ops" in verdict.sentence
