"""A verdict's question, asked by who has nothing of its project: the guest is made of what its registry lends."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from bpfcompat import plan
from bpfcompat.config import SETTINGS, Config, from_dict, from_environ
from bpfcompat.control import Controller
from bpfcompat.errors import NotHereError, ObjectError
from bpfcompat.files import read_bounded
from bpfcompat.kernels.extract import MAX_CONFIG, MAX_VMLINUZ, kernel_parts
from bpfcompat.kernels.lock import Lock
from bpfcompat.lending import fetched
from bpfcompat.memo import Memo
from bpfcompat.model import AttachMode, Blob, Kernel, KernelSpec, ObjectSpec, UrlSource
from bpfcompat.plan import Matrix, Pair
from bpfcompat.qemu import machine_class
from bpfcompat.realise import MAX_OBJECT, Workshop
from bpfcompat.registry.client import Source
from bpfcompat.registry.text import plain
from bpfcompat.statement import Claim, question_of
from bpfcompat.store import Store
from bpfcompat.voice import Terminal

PAIR = Pair("object", "kernel")  # the verdict's own names are a stranger's


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a verdict was made from: the bytes of its digests."""

    object: bytes
    vmlinuz: bytes
    config: bytes | None
    initramfs: bytes

    @classmethod
    def fetched(cls, source: Source, claim: Claim, given: Path | None) -> "Inputs | None":
        """From a registry; None where it does not lend them all.  TrustError for other bytes than their name says."""
        own = read_bounded(given, MAX_OBJECT, ObjectError) if given else None
        content = own or fetched(source, claim.object_digest, MAX_OBJECT)
        vmlinuz, initramfs = (fetched(source, d, MAX_VMLINUZ) for d in (claim.vmlinuz, claim.initramfs))
        config = fetched(source, claim.config, MAX_CONFIG) if claim.config else None
        if content is None or vmlinuz is None or initramfs is None or (claim.config and config is None):
            return None
        return cls(content, vmlinuz, config, initramfs)

    def asker(self, root: Path, claim: Claim) -> "Stranger":
        """Who asks with them; NotHereError for a question that is made of more than these."""
        more = sorted(claim.spec.keys() - {"attach", "log_kb"})
        if more:
            label = plain(f"{claim.object_name}@{claim.kernel_name}", 120)
            words = ", ".join(plain(name, 20) for name in more)
            raise NotHereError(f"{label}: its recipe has {words}, and only its project knows those", "run it there")
        return Stranger(_workshop(root, claim), claim, self)


class Stranger(Controller):
    """Asks with a verdict's very inputs; nothing of the guest is made here."""

    def __init__(self, shop: Workshop, claim: Claim, inputs: Inputs) -> None:
        super().__init__(shop)
        self._claim, self._inputs = claim, inputs
        parts, put = kernel_parts(inputs.vmlinuz, inputs.config), shop.store.put_bytes
        config, btf = (put(data) if data else None for data in (inputs.config, parts.btf))
        vmlinuz = put(inputs.vmlinuz)
        image = put(parts.vmlinux) if parts.vmlinux else vmlinuz
        self._kernel = Kernel(PAIR.kernel, parts.release, "x86_64", vmlinuz, config, btf, image)

    def kernel(self, name: str, make: bool = True) -> Kernel:
        """The verdict's kernel."""
        return self._kernel

    def initramfs(self, kernel: str, make: bool = True) -> Blob:
        """The verdict's initramfs, in which its validator is."""
        return self.shop.store.put_bytes(self._inputs.initramfs)

    def object(self, name: str, make: bool = True) -> Blob:
        """The verdict's object."""
        return self.shop.store.put_bytes(self._inputs.object)

    def command_line(self, kernel: str) -> str:
        """The verdict's command line."""
        return self._claim.command_line

    def column(self, kernel: str, make: bool = True) -> plan.Column:
        """What the verdict says of its kernel."""
        shared = {n: v for n, v in question_of(self._claim).items() if n not in ("object", "spec")}
        machine = machine_class(self.shop.config["guest.memory_mb"])
        return plan.Column(self._kernel, {**shared, "machine": machine})


def _workshop(root: Path, claim: Claim) -> Workshop:
    """A project of one object and one kernel, with the settings that the verdict was made with."""
    config = from_dict({}, root.resolve(), from_environ(os.environ))
    kernel, name = KernelSpec(PAIR.kernel, "x86_64", UrlSource("", claim.vmlinuz)), PAIR.object
    spec = ObjectSpec(name, attach=attach_mode(claim))
    matrix = Matrix({name: spec}, {kernel.name: kernel}, (kernel.name,), {name: frozenset((kernel.name,))})
    store = Store(config.path("paths.store")).open()
    return Workshop(as_asked(config, claim), matrix, Lock(), store, Memo(store.root / "memo.json"), Terminal())


def attach_mode(claim: Claim) -> AttachMode:
    """How far the verdict's programs went; NotHereError for a mode that is none."""
    word = claim.spec.get("attach", AttachMode.ATTACH)
    if word not in tuple(AttachMode):
        raise NotHereError(f"its recipe has attach = {str(word)[:20]}, expected one of {', '.join(AttachMode)}")
    return AttachMode(word)


def as_asked(config: Config, claim: Claim) -> Config:
    """The settings that are part of the question, as the verdict has them; and its guest is booted.

    NotHereError for a guest that no settings give: the verdict is a stranger's, and the memory is this machine's.
    """
    asked = {"log_kb": claim.spec.get("log_kb"), "memory_mb": claim.machine.get("memory_mb")}
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        if not SETTINGS["guest"][name].accepts(value):
            expected = SETTINGS["guest"][name].expected
            raise NotHereError(f"its guest has {name} = {str(value)[:20]}, expected {expected}")
    return replace(config, values={**config.values, "guest.cold": True, **{f"guest.{n}": v for n, v in given.items()}})
