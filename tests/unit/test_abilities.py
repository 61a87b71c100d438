"""Objects that ask for helpers, and what a kernel's answers mean."""

import pytest

from bpfcompat.abilities import allowed, from_json, object_of, to_bytes
from bpfcompat.elf import read_object
from bpfcompat.errors import KernelError
from bpfcompat.model import Attach, Log, ProgramReport, Report

HELPERS = {"map_lookup_elem": 1, "probe_read": 4, "loop": 181}
UNKNOWN = "0: (85) call bpf_probe_read#4\nunknown func bpf_probe_read#4\nprocessed 1 insns (limit 1000000)\n"
CANNOT = (
    "0: R1=ctx() R10=fp0\n0: (85) call bpf_probe_read#4\nprogram of this type cannot use helper bpf_probe_read#4\n\n"
    "Verification failed: Policy: Operation is not allowed\n"
)
ARGUMENT = "0: (85) call bpf_map_lookup_elem#1\nR1 type=ctx expected=map_ptr\nprocessed 1 insns (limit 1000000)\n"


def report(**answers: tuple[int, str]) -> Report:
    programs = tuple(
        ProgramReport(name, "xdp", "xdp", True, errno, Log(log), Attach.NOT_ATTEMPTED)
        for name, (errno, log) in answers.items()
    )
    return Report({}, 0, Log(""), 13, Log(""), programs)


def test_object() -> None:
    """The object has a program for each helper, called after its id, a licence, and calls them all."""
    facts = read_object(object_of("xdp", HELPERS))
    assert [(p.section, p.name) for p in facts.programs] == [("xdp", "h1"), ("xdp", "h4"), ("xdp", "h181")]
    assert facts.licence == "GPL" and set(facts.helpers) == {1, 4, 181}


WALKED = "0: R1=ctx() R10=fp0\n0: (85) call bpf_probe_read#4\n"
UNREAD = "bpf_lsm_file_open is not sleepable\nprocessed 0 insns (limit 1000000) max_states_per_insn 0\n"


@pytest.mark.parametrize(
    "refusal",
    [
        UNKNOWN, CANNOT, "func#0 @0\n0: helper call\nhelper call might sleep in a x\n",
        WALKED + "sleepable helper bpf_probe_read#4 in non-sleepable prog\n",
        WALKED + "func bpf_probe_read#4 not supported for program type 17\n",
        WALKED + "func bpf_probe_read#4 supported only for fentry/fexit/fsession/fmod_ret programs\n",
    ],
)  # fmt: skip
def test_answers(refusal: str) -> None:
    """Loaded, or refused for its arguments, is allowed; refused for the helper is not; never walked is no answer."""
    told = report(h1=(13, ARGUMENT), h4=(22, refusal), h181=(0, ""), main=(22, ""))
    assert allowed(told, HELPERS) == ("map_lookup_elem", "loop")
    assert allowed(report(h1=(22, ""), h4=(22, "")), HELPERS) is None
    assert allowed(report(h1=(22, UNREAD), h4=(22, UNREAD)), HELPERS) is None
    assert allowed(report(), HELPERS) is None


def test_stored() -> None:
    """Abilities come back from their bytes; other bytes are refused."""
    found = {"xdp": ("loop",), "lirc_mode2": None}
    assert from_json(to_bytes(found)) == found
    for data in (b"", b"[]", b"[1]", b'{"xdp": 1}'):
        with pytest.raises(KernelError, match="abilities"):
            from_json(data)
