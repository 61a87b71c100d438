"""What an object did to a kernel, as a cause: the answers that no errno gives.

Only a fate on which fresh guests agreed comes here (see trying); one guest's death proves nothing of an object.
"""

from collections.abc import Mapping

from bpfcompat.causes import clip
from bpfcompat.model import Answer, Ending, Fate, ProgramVerdict, Report, Verdict

SLUG: Mapping[Fate, str] = {Fate.CRASH: "kernel-crash", Fate.HANG: "kernel-hang", Fate.SPLAT: "kernel-splat"}
_WORDS = {
    Fate.CRASH: "this kernel ({release}) dies",
    Fate.HANG: "this kernel ({release}) stops running user space",
    Fate.SPLAT: "this kernel ({release}) complains of itself",
}
_DOING = {
    "open": "while the object is opened",
    "load": "while the object is loaded",
    "program": "while program '{program}' is loaded and attached",
    "test": "while test '{program}' runs",
    "object": "while the object is asked",
    "command": "while the project's loader runs",
}
_HINTS = {
    Fate.CRASH: "keep this object away from this kernel; report the console's lines to who maintains the kernel",
    Fate.HANG: "bound what the program does each time it runs, or keep it away from this kernel",
    Fate.SPLAT: "read the evidence: a WARN may be a kernel bug, a stall a program that runs too long",
}


def fate_verdict(report: Report, ending: Ending, programs: tuple[ProgramVerdict, ...]) -> Verdict:
    """The verdict of a report whose ending is the answer."""
    release = clip(str(report.guest.get("release", "?")), 64)
    name = clip(ending.program, 64)
    doing = _DOING.get(ending.phase, _DOING["object"]).format(program=name)
    agreed = f"{ending.runs} guests agree"
    who = "program" if name and ending.phase != "test" else "object"
    return Verdict(
        answer=Answer.INCOMPATIBLE,
        cause=SLUG[ending.fate],
        sentence=f"{who}: {_WORDS[ending.fate].format(release=release)} {doing}; {agreed}",
        evidence=tuple(clip(line) for line in ending.console if line.strip()) or ("the console said nothing",),
        hint=_HINTS[ending.fate],
        subject=name,
        programs=programs,
    )
