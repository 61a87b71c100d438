"""A QEMU for scenarios: no kernel, no boot; it answers as the object's own text says, over the real two ports.

An object is a line `ANSWER NAME [RELEASE=ANSWER]…`, such as `compatible alpha 5.10.0-a=helper`.  An answer is

    compatible, rejected, helper    what the validator would say of such an object
    slow                            compatible, after a second
    panic, panic-once               the guest is lost, each time or the first time
    stuck                           not a word

A file `instead` beside this script holds another answer, for all objects.  Each start makes a folder below `boots/`
beside this script (a folder, because the real QEMU's file-size limit is in force here too).
"""

import hashlib
import json
import os
import struct
import sys
import time
import uuid
from pathlib import Path

ARGS = sys.argv[1:]
HERE = Path(sys.argv[0]).resolve().parent
LOGS = {
    "rejected": (22, "0: (95) exit\nunreachable insn 1\nprocessed 1 insns\n"),
    "helper": (22, "0: (85) call unknown#181\ninvalid func unknown#181\nprocessed 1 insns\n"),
}


def options(name: str) -> list[dict[str, str]]:
    """All values of an option, each as its comma-separated fields."""
    values = [ARGS[i + 1] for i, a in enumerate(ARGS) if a == name]
    return [{k: v for k, _, v in (f.partition("=") for f in value.split(","))} for value in values]


def given(name: str) -> str:
    """A fw_cfg file's text."""
    places = (o["file"] for o in options("-fw_cfg") if o["name"] == f"opt/bpfcompat/{name}")
    return Path(next(places)).read_text(errors="replace")


def leash() -> int:
    """The inherited descriptor of the report's port, which QEMU reads from a pipe."""
    section = Path(ARGS[ARGS.index("-readconfig") + 1]).read_text()
    return int(section.partition('fd = "')[2].partition('"')[0])


def port(name: str) -> int:
    """The inherited descriptor of another port."""
    return next(int(o["fd"]) for o in options("-chardev") if o["id"] == name)


def release() -> str:
    """What the kernel's header calls itself."""
    image = Path(ARGS[ARGS.index("-kernel") + 1]).read_bytes()
    return image[0x200 + struct.unpack_from("<H", image, 0x20E)[0] :][:128].split(b" ")[0].decode()


def text(words: str = "") -> dict[str, object]:
    """A log."""
    return {"text": words, "cut": False}


def frames(answer: str) -> list[dict[str, object]]:
    """What a validator would say."""
    errno, log = LOGS.get(answer, (0, ""))
    listed = {"name": "handle", "section": "tp/x/y", "type": "tracepoint", "autoload": True}
    attached = {
        "attach": "not-attempted" if errno else "attached",
        "reason": "not loaded" if errno else "",
        "how": "" if errno else "libbpf: perf_event link",
    }
    said: list[dict[str, object]] = [
        {"kind": "hello", "release": release(), "version": "#1 SMP", "machine": "x86_64", "btf": True, "config": False,
         "libbpf": "1.5.0", "lsm": ["capability", "bpf"], "lockdown": "none", "sysctls": {}, "unmounted": []},
        {"kind": "open", "errno": 0, "log": text(), "programs": [listed], "maps": []},
        {"kind": "load", "errno": errno, "log": text(), "verifier": text(log), "btf": None, "relocations": text()},
        {"kind": "maps", "created": []},
        {"kind": "program", **listed, "load_errno": errno, "verifier": text(log), "insns": 2, "line_info": 0,
         "counts": "", "cost": {"jited": 0, "verify_us": 0}, "relocations": text(), **attached, "attach_errno": 0,
         "libbpf": text()},
    ]  # fmt: skip
    said += [tested(name, not errno) for name in asked("test")]
    return [*said, {"kind": "end", "frames": len(said)}]


def asked(name: str) -> list[str]:
    """The values of all lines of the spec with this name."""
    return [line.partition("=")[2] for line in given("spec").splitlines() if line.startswith(f"{name}=")]


def tested(name: str, loads: bool) -> dict[str, object]:
    """A behaviour test whose only step went well."""
    held = [{"name": "handle", "attach": "attached", "errno": 0, "reason": ""}]
    return {"kind": "test", "name": name, "ended": "done" if loads else "not-attempted",
            "reason": "" if loads else "the object does not load", "programs": held, "steps": [0], "exec_errno": 0,
            "exit": None, "signal": 0, "stdout": text(), "stderr": text(), "run": None, "readings": [], "events": [],
            "trace": None}  # fmt: skip


def send(report: int, nonce: str, said: list[dict[str, object]]) -> None:
    """Write frames to the report port."""
    for number, frame in enumerate(said):
        body = json.dumps(frame, separators=(",", ":")).encode()
        digest = hashlib.sha256(body).hexdigest()
        os.write(report, f"BPFC1 {nonce} {number} {len(body)} {digest}\n".encode() + body + b"\n")


def answer_of(default: str, others: list[str]) -> str:
    """The answer for this kernel."""
    if (HERE / "instead").exists():
        return (HERE / "instead").read_text().strip()
    return dict(o.split("=") for o in others).get(release(), default)


def main() -> None:
    """Answer, or die as the object says."""
    if ARGS == ["--version"]:
        print("QEMU emulator version 9.9.9")
        return
    report = leash()
    words = given("object").split()
    if not words or words[0].startswith("\x7fELF"):  # what bpfcompat itself asks a guest with
        words = ["compatible", "hello"]
    default, name, *others = words
    answer, label = answer_of(default, others), f"{name}@{release()}"
    first = not list((HERE / "boots").glob(f"{label} *"))
    (HERE / "boots" / f"{label} {uuid.uuid4().hex}").mkdir(parents=True)
    if answer == "panic" or (answer == "panic-once" and first):
        os.write(port("console"), b"Kernel panic - not syncing: as the object wished\n")
    elif answer != "stuck":
        time.sleep(1.0 if answer == "slow" else 0)
        nonce = next(line[6:] for line in given("spec").splitlines() if line.startswith("nonce="))
        send(report, nonce, frames(answer))
        os.write(port("console"), b"bpfcompat: end\n")  # without it, a host waits two seconds for more
    time.sleep(60)


main()
