"""What is proposed, by the cause and the words of the refusal."""

import pytest

from bpfcompat.fixes import Ground, fixes


@pytest.mark.parametrize(
    ("slug", "reason", "words"),
    [
        ("verifier-type", "access beyond struct list_head at off 24 size 8", "BPF_CORE_READ()"),
        ("verifier-type", "struct flow_offload_tuple doesn't have field at offset 50", "BPF_CORE_READ()"),
        ("verifier-rejected", "tracing progs cannot use bpf_spin_lock yet", "a per-CPU map"),
        ("verifier-rejected", "__x64_sys_nanosleep() is not modifiable", "fentry or fexit"),
        ("verifier-rejected", "something that nobody has a row for", "read the log"),
    ],
)
def test_words_decide(slug: str, reason: str, words: str) -> None:
    """What the verifier says decides what is advised first, and a mask only where an access is out of bounds."""
    found = fixes(Ground(slug, reason=reason, hint="the row's own"))
    assert words in found[0]
    assert not any("barrier_var" in text for text in found)


def test_a_mask_for_bounds() -> None:
    """For an access out of bounds the row's own advice comes first, then how to keep a check."""
    found = fixes(Ground("verifier-bounds", reason="R1 offset is outside of the packet", hint="check it"))
    assert found[0] == "check it" and "barrier_var" in found[1]
