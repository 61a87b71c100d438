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


@pytest.mark.parametrize("section", ["struct_ops.s/init", "struct_ops/running"])
def test_struct_ops_hangs_on_its_map(section: str) -> None:
    """An optional program of struct_ops is loaded all the same where its map is made: the map is to be optional."""
    found = fixes(Ground("attach-target-missing", section=section, target="sched_ext_ops"))
    assert '`SEC("?.struct_ops.link")`' in found[0] and "NULL" in found[1]
    off = fixes(Ground("attach-target-missing", section=section, target="sched_ext_ops", option="CONFIG_X"))
    assert off[0] == found[0] and "CONFIG_X=y" in off[1]
    assert not any(f"?{section}" in text for text in (*found, *off))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("fmod_ret.s/x", "take fentry or fexit"),
        ("uprobe.session.s//bin/x:f", "a plain uprobe"),
        ("fentry.s/x", "drop it"),
        ("uprobe.s//bin/x:f", "drop it"),
    ],
)
def test_what_to_do_without_sleep(section: str, words: str) -> None:
    """Dropping the ".s" is first only where the section without it may well attach."""
    assert words in fixes(Ground("verifier-sleepable", section=section, hint="drop it"))[0]
