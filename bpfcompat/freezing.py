"""Guests ready to be asked: which QEMU, how patient, and a frozen one per kernel to be thawed for each object."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat.action import Action
from bpfcompat.errors import BpfcompatError, GuestError
from bpfcompat.model import Blob
from bpfcompat.realise import NotThere, Realiser, Workshop

if TYPE_CHECKING:  # a null run needs none of them
    from bpfcompat.guest import Limits
    from bpfcompat.qemu import Job, Qemu
    from bpfcompat.templates import Template, Templates

TEMPLATE_FORMAT = 3  # raise it when what is frozen, or how, changes
ATTEMPTS = 2
CONSOLE_S = 2.0
NOTE_CHARS = 100  # of why an accelerator does not work: once a run, and host/accelerator.json has it all


class Keeper(Realiser):
    """The steps up to a guest that waits for work."""

    def __init__(self, shop: Workshop) -> None:
        super().__init__(shop)
        self._qemu: Qemu | None = None
        self._qemu_lock = threading.Lock()
        self._boot_s: float | None = None
        self._templates: dict[str, Template] = {}
        self._unfreezable: set[str] = set()

    def job(self, kernel: str, content: Path | bytes, spec: bytes | Callable[[], bytes],
            files: Blob | None = None, modules: bytes = b"") -> Job:  # fmt: skip
        """A guest of this kernel with an object in hand, an archive of files and modules if it is to have them."""
        from bpfcompat.qemu import Job

        image, initramfs = self._hashed(self.kernel(kernel).image), self._hashed(self.initramfs(kernel))
        memory_mb, archive = self.shop.config["guest.memory_mb"], self._hashed(files) if files else None
        return Job(image, initramfs, content, spec, self.command_line(kernel), memory_mb, archive, modules)

    def _hashed(self, blob: Blob) -> Path:
        """A blob's path; its bytes are hashed again only when its file is not the very one that was hashed before."""
        store, path = self.shop.store, self.shop.store.blob_path(blob.digest)
        try:
            if self.shop.memo.digest(path) == blob.digest:
                return path
        except BpfcompatError:  # not there, or no file: said in the store's words
            pass
        return store.checked(blob)

    def qemu(self, kernel: str) -> Qemu:
        """QEMU with an accelerator that has really brought a kernel up; chosen once per run."""
        from bpfcompat.guest import choose_accelerator

        with self._qemu_lock:
            if self._qemu is None:
                store, config = self.shop.store, self.shop.config
                found = self._find_qemu()
                job = self.job(kernel, b"", b"")
                chosen, note = choose_accelerator(
                    found, job.image, job.initramfs, config["guest.accelerator"], store.root / "host"
                )
                shown = f": {note[:NOTE_CHARS]}{'…' if len(note) > NOTE_CHARS else ''}" if note else ""
                self.shop.voice.say(f"   guests: QEMU {chosen.version}, {chosen.accelerator}{shown}")
                self._qemu = chosen
            return self._qemu

    def _find_qemu(self) -> Qemu:
        """What QEMU says of itself is asked again when its file changes."""
        from bpfcompat.process import find_tool
        from bpfcompat.qemu import BINARY, PACKAGE, Qemu, find_qemu

        config = self.shop.config
        binary = Path(find_tool(config["guest.qemu"] or BINARY, PACKAGE)).absolute()
        version = self.shop.memo.recall("qemu", binary.resolve(), lambda: find_qemu(str(binary)).version)
        return Qemu(str(binary), version, own_user=config["guest.user"] == "own")

    # --- pace

    def limits(self) -> Limits:
        """How long a guest may take on this host: the settings, stretched where guests boot slowly."""
        from bpfcompat import host
        from bpfcompat.guest import Limits

        config = self.shop.config
        plain = Limits(config["guest.deadline_s"], config["guest.silence_s"], config["guest.boot_s"],
                       console_s=CONSOLE_S)  # fmt: skip
        if self._boot_s is None:
            self._boot_s = host.remembered(self._pace_place, self._pace_asked())
        # until it is known how slow this host is, take it to be very slow
        return plain.scaled(host.MOST if self._boot_s is None else host.slowness(self._boot_s))

    def _learn_pace(self, boot_s: float) -> None:
        from bpfcompat import host

        if self._boot_s is None:
            self._boot_s = boot_s
            host.remember(self._pace_place, self._pace_asked(), boot_s)

    @property
    def _pace_place(self) -> Path:
        return self.shop.store.root / "host" / "pace.json"

    def _pace_asked(self) -> dict[str, str]:
        from bpfcompat import host

        qemu = self._qemu
        return {"host": host.identity(), "qemu": qemu.version if qemu else "", "with": qemu.accelerator if qemu else ""}

    # --- templates

    def _cold(self, kernel: str) -> bool:
        """True where guests of this kernel are booted: by the settings, or because they cannot be frozen here."""
        if self.shop.config["guest.cold"]:
            return True
        try:
            self.template(kernel)
        except GuestError:
            return True
        return False

    def template_action(self, kernel: str, make: bool = True) -> Action:
        """The action of freezing a guest: everything that its RAM and its devices' state depend on."""
        from bpfcompat import host
        from bpfcompat.qemu import machine_class

        image, qemu = self.initramfs(kernel, make), self.qemu(kernel)
        inputs = {
            "vmlinuz": self.kernel(kernel, make).vmlinuz.digest,
            "initramfs": image.digest,
            "command_line": self.command_line(kernel),
            "machine": machine_class(self.shop.config["guest.memory_mb"]),
            "accelerator": qemu.accelerator,
            "qemu": {"version": qemu.version, "binary": self.shop.memo.digest(Path(qemu.binary))},
            "user": "root" if os.geteuid() == 0 else "other",
            "host": host.identity(),
            "format": TEMPLATE_FORMAT,
        }
        return Action("template", kernel, inputs)

    def templates(self) -> Templates:
        """The templates of this store."""
        from bpfcompat.templates import Templates

        return Templates(self.shop.store.root, self.shop.voice.say)

    def template(self, kernel: str, make: bool = True) -> Template:
        """A frozen guest of this kernel, from the store or made now; GuestError where none can be made."""
        found = self._templates.get(kernel)
        if found is not None:
            return found
        action = self.template_action(kernel, make)
        with self._own(action.key()):
            found = self._templates.get(kernel)
            if found is None and kernel in self._unfreezable:
                raise GuestError(f"kernel {kernel!r}: no template in this run", death="template")
            found = found or self.templates().open(action)
            if found is None and not make:
                raise NotThere(action.label)
            self._templates[kernel] = found = found or self._make_template(kernel, action)
        return found

    def frozen_or_cold(self, kernel: str) -> None:
        """Have a template, or know that guests of this kernel are booted: no pair waits for more than that."""
        with contextlib.suppress(GuestError):
            self.template(kernel)

    def forget(self, action: Action) -> bool:
        """Drop an action's entry; a template has none, but a folder."""
        return self.templates().drop(action) if action.kind == "template" else super().forget(action)

    def drop_template(self, kernel: str, why: str) -> None:
        """Make a new one for the next guest."""
        action = self.template_action(kernel)
        with self._own(action.key()):
            if self._templates.pop(kernel, None) is not None:
                self.shop.voice.say(f"   {action.label}: dropped: {why}")
                self.templates().drop(action)

    def _make_template(self, kernel: str, action: Action) -> Template:
        """Freeze a guest and see that it answers when thawed; once more if not, and cold boots if not again."""
        store, say = self.shop.store, self.shop.voice.say
        with store.single_flight(action, lambda who: say(f"   {action.label}: waits for {who}")):
            found = self.templates().open(action)
            if found is not None:
                return found
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return self._frozen(kernel, action)
                except GuestError as error:
                    self.templates().drop(action)
                    then = "once more" if attempt < ATTEMPTS else "its guests are booted instead"
                    say(f"   {action.label}: {error.message}; {then}")
                    last = error
        self._unfreezable.add(kernel)
        raise last

    def _frozen(self, kernel: str, action: Action) -> Template:
        from bpfcompat.guest import freeze, new_ram

        job, qemu = self.job(kernel, b"", b""), self.qemu(kernel)
        try:
            ram = new_ram(job.memory_mb)
        except OSError as error:
            raise GuestError(f"guest: no memory to freeze it in: {error.strerror}", death="host") from error
        try:
            state, boot_s = freeze(qemu, job, self.limits(), ram)
            self._learn_pace(boot_s)
            self.templates().put(action, ram, state, boot_s)
        finally:
            os.close(ram)
        found = self.templates().open(action)
        if found is None:
            raise GuestError("guest: frozen, but what was written does not hold", death="template")
        self._check_thawed(kernel, found)
        self.ran[action.label] = ("never frozen before",)
        return found

    def _check_thawed(self, kernel: str, found: Template) -> None:
        """A thawed guest must answer: an empty object is none, and it must say so, under its own nonce."""
        from bpfcompat import wire
        from bpfcompat.guest import run_clone
        from bpfcompat.model import AttachMode

        nonce = "c" * 32
        spec = wire.spec(nonce, AttachMode.LOAD, 10**18, "0" * 64)
        try:
            ended = run_clone(self.qemu(kernel), self.job(kernel, b"", spec), found.frozen, self.limits(),
                              wire.is_complete)  # fmt: skip
            if not wire.parse(ended.report, nonce).open_errno:
                raise GuestError("guest: thawed, it opened an empty object")
        except BpfcompatError:
            found.close()
            raise
