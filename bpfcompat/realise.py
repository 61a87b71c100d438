"""Have it or make it: the one place that chooses, and says why.

Every method takes `make`: with False it only looks, and raises NotThere for the first thing that would have to be
made; the planner uses that.  What failed once in a run is not tried again in it.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bpfcompat import asserts, conditions, kmods, libbpfs, plan
from bpfcompat.action import Action
from bpfcompat.config import Config
from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import BpfcompatError, ConditionError, ConfigError, KernelError, ObjectError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.kernels.lock import RELOCK, Lock, LockedPackage
from bpfcompat.kernels.modules import is_apart
from bpfcompat.memo import Memo
from bpfcompat.model import (
    AptSource,
    Asserts,
    Blob,
    DirSource,
    Kernel,
    KernelSpec,
    LockedFile,
    ObjectSpec,
    UrlSource,
)
from bpfcompat.plan import Matrix, Pair
from bpfcompat.store import Entry, Store
from bpfcompat.voice import Voice

if TYPE_CHECKING:
    from bpfcompat.builds import Build
    from bpfcompat.elf import ObjectFacts
    from bpfcompat.origins import Allowed

MAX_OBJECT = 64 << 20
CHANGED, AGAIN = "changed during this run", "run the same command again"
VALIDATOR = Path(__file__).resolve().parent / "validator"


class NotThere(Exception):
    """What would have to be made first; only seen where `make` is False."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


@dataclass(frozen=True, slots=True)
class Made:
    """What a maker gives back: outputs as bytes by name, and small facts."""

    outputs: Mapping[str, bytes]
    facts: Mapping[str, Any] = field(default_factory=dict)


Maker = Callable[[Path], Made]
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every step needs: settings, what is to be asked, the lock, the store, the memo and a voice."""

    config: Config
    matrix: Matrix
    lock: Lock
    store: Store
    memo: Memo
    voice: Voice


def refuse_false(kernel: str, wrong: Iterable[str]) -> None:
    """ConditionError with all that does not hold of a kernel."""
    said = tuple(wrong)
    if said:
        hint = "correct the kernel's entry, or name another kernel"
        raise ConditionError(f"kernel {kernel!r}: not as its entry says: {'; '.join(said)[:1000]}", hint=hint)


class Steps:
    """Actions to entries, each made once per run however many tasks ask for it."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.ran: dict[str, tuple[str, ...]] = {}  # label → why it ran
        self._planned: dict[str, Any] = {}
        self._done: dict[str, Entry] = {}
        self._failed: dict[str, BpfcompatError] = {}
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def planned(self, label: str, compute: Callable[[], _Value]) -> _Value:
        """A value that is the same for the whole run: files are looked at once, and what was seen first holds."""
        if label not in self._planned:
            self._planned.setdefault(label, compute())
        found: _Value = self._planned[label]
        return found

    def have(self, action: Action, maker: Maker, make: bool = True) -> Entry:
        """The entry of an action, from the store or made now."""
        known = self.known(action)
        if known is None and not make:
            raise NotThere(action.label)
        if known is None:
            key = action.key()
            with self._own(key):
                known = self._done[key] = self._done.get(key) or self._make(action, maker)
        return known

    def known(self, action: Action) -> Entry | None:
        """The entry of an action, if it was made before."""
        key = action.key()
        found = self._done.get(key) or self.shop.store.get(action)
        if found is not None:
            self._done[key] = found
        return found

    def recall(self, entries: Mapping[str, Entry]) -> None:
        """Take entries by key as read, so that they are not read again."""
        self._done.update(entries)

    def recalled(self) -> dict[str, Entry]:
        """Every entry that this run has read or made until now."""
        return dict(self._done)

    def forget(self, action: Action) -> bool:
        """Drop an action's entry from the store and from this run."""
        self._done.pop(action.key(), None)
        released = self.shop.store.release(action.key())
        return self.shop.store.drop(action.kind, action.key()) or released

    def there(self, look: Callable[[], object]) -> bool:
        """True when a look (a step with make=False) finds everything; a trouble on the way counts as not there."""
        try:
            look()
        except (NotThere, BpfcompatError):
            return False
        return True

    def why(self, action: Action) -> tuple[str, ...]:
        """Why this action must run: which input changed since it last did, or that its entry is gone or was damaged."""
        damage = self.shop.store.damage.get(action.key())
        if damage is not None:
            return (f"its store entry was damaged and dropped: {damage}",)
        last = self.shop.store.last(action)
        if last is not None and last[0] == action.key():
            return ("its store entry is missing or damaged",)
        return plan.changes(last[1] if last else None, action.inputs)

    def _make(self, action: Action, maker: Maker) -> Entry:
        key, store = action.key(), self.shop.store
        if key in self._failed:
            raise self._failed[key]
        try:
            with store.single_flight(action, lambda who: self.shop.voice.say(f"   {action.label}: waits for {who}")):
                found = store.get(action)
                if found is not None:
                    return found
                reason = self.why(action)
                with store.workdir() as work:
                    made = maker(work)
                entry = store.put(action, {n: store.put_bytes(d) for n, d in made.outputs.items()}, made.facts)
                store.remember(action, entry)
        except BpfcompatError as error:
            self._failed[key] = error
            raise
        self.ran[action.label] = reason
        return entry

    def _own(self, key: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())


class Realiser(Steps):
    """The steps by name: kernels, validator, header, objects, initramfs."""

    def kernel(self, name: str, make: bool = True) -> Kernel:
        """A kernel's files; KernelError when it is not to be had, ConditionError when it is not as its entry says."""
        spec = self.shop.matrix.kernels[name]
        entry = self.have(self.kernel_action(name), lambda work: self._make_kernel(spec), make)
        found = self._as_entry(name, entry)
        if spec.asserts != Asserts():
            self.planned(f"asserted:{name}", lambda: self._assert(found))
        return found

    def _assert(self, kernel: Kernel) -> bool:
        """Hold what a kernel's entry asserts against its files."""
        spec = self.shop.matrix.kernels[kernel.name]
        config = self.shop.store.read(kernel.config) if kernel.config and spec.asserts.config else None
        wrong = asserts.on_host(spec.asserts, spec.conditions, kernel.release, kernel.btf is not None, config)
        refuse_false(kernel.name, wrong)
        return True

    def _as_entry(self, name: str, entry: Entry) -> Kernel:
        spec = self.shop.matrix.kernels[name]
        return Kernel(
            name=name,
            release=str(entry.facts["release"]),
            arch=spec.arch,
            vmlinuz=entry.outputs["vmlinuz"],
            config=entry.outputs.get("config"),
            btf=entry.outputs.get("btf"),
            image=entry.outputs.get("vmlinux", entry.outputs["vmlinuz"]),
        )

    def kernel_action(self, name: str) -> Action:
        """The action of a kernel: from its lock entry, its own files, or its declared digests."""
        spec = self.shop.matrix.kernels[name]
        return self.planned(f"kernel:{name}", lambda: plan.kernel_action(spec, self._kernel_files(spec)))

    def build(self, name: str, make: bool = True) -> "Build":
        """What a kernel's exact build has, from its own files; KernelError where nothing says so."""
        from bpfcompat import building

        return building.build(self, name, make)

    def build_action(self, name: str, make: bool = True) -> Action:
        """The action of reading a kernel's inventory."""
        from bpfcompat import building

        return building.action_of(self, name, make)

    def _kernel_files(self, spec: KernelSpec) -> dict[str, str]:
        source = spec.source
        if isinstance(source, AptSource):
            locked = self.shop.lock.kernels.get(spec.locked_as)
            if locked is None:
                raise KernelError(f"kernel {spec.name!r}: not in {self.shop.config['paths.lock']}", hint=RELOCK)
            return {str(n): f.digest for n, f in enumerate(f for f in locked.files if not is_apart(f.path))}
        if isinstance(source, UrlSource):
            return {
                "vmlinuz": source.vmlinuz_digest,
                **({"config": source.config_digest} if source.config_digest else {}),
            }
        return self._dir_files(spec.name, source)

    def _dir_files(self, name: str, source: DirSource) -> dict[str, str]:
        from bpfcompat.kernels.folder import dir_members

        try:
            members = dir_members(source)
        except KernelError as error:
            raise KernelError(f"kernel {name!r}: {error.message}", error.hint) from error
        return {role: self.shop.memo.digest(path) for role, path in members.items()}

    def _make_kernel(self, spec: KernelSpec) -> Made:
        from bpfcompat.kernels.sources import obtain

        locked = self.shop.lock.kernels.get(spec.locked_as)
        for file in locked.files if locked else ():
            if not is_apart(file.path):
                self._borrow_file(file, f"kernel:{spec.name}")
        parts = obtain(spec, locked, self.mirror, self.downloads, self.bar(f"kernel:{spec.name}"), self.allowed)
        outputs = {"vmlinuz": parts.vmlinuz, "config": parts.config, "btf": parts.btf, "vmlinux": parts.vmlinux}
        if isinstance(spec.source, DirSource):
            given = {"vmlinuz": parts.vmlinuz, "config": parts.config}
            seen = {role: digest_bytes(d) for role, d in given.items() if d is not None}
            if seen != self.kernel_action(spec.name).inputs["files"]:
                raise KernelError(f"kernel {spec.name!r}: {spec.source.path}: {CHANGED}", hint=AGAIN)
        return Made({n: d for n, d in outputs.items() if d is not None}, {"release": parts.release})

    def bar(self, label: str) -> Callable[[int, int | None], None]:
        """Shows how far a download is."""
        return partial(self.shop.voice.progress, label)

    def mirror(self) -> str:
        """Base address of the Debian mirror; asked for only when something must be fetched."""
        from bpfcompat.kernels.apt import mirror

        return mirror(self.shop.config["mirror.debian"])

    @property
    def downloads(self) -> Path:
        """Where fetched packages are kept by digest."""
        return self.shop.store.root / "downloads"

    @property
    def allowed(self) -> "Allowed":
        """The hosts of [fetch] allow."""
        from bpfcompat.origins import allowed

        return allowed(self.shop.config["fetch.allow"])

    def obtain(self, file: LockedFile, label: str) -> Path:
        """A locked file, fetched if it is not there; `label` says who waits for it."""
        from bpfcompat.kernels.sources import obtain_file

        self._borrow_file(file, label)
        return obtain_file(file, self.mirror, self.downloads, self.bar(label), self.allowed)

    def _borrow_file(self, file: LockedFile, label: str) -> None:
        """Put a locked file where downloads lie, if it is not there and a registry lends it."""
        from bpfcompat import lending

        place = self.downloads / hex_of(file.digest)
        if not place.exists():
            data = lending.borrowed(self, lending.KERNELS, label, file.digest, file.size)
            if data is not None:
                write_atomic(place, data)

    # --- validator

    def validator(self, make: bool = True, loader: str = "") -> Entry:
        """The validator: outputs `validator`, `libbpf.so` and libbpf's headers; facts: libbpf's version.

        `loader` is one of [libbpf], "" the project's own.
        """
        return self.have(self.validator_action(loader), lambda work: self._make_validator(work, loader), make)

    def validator_for(self, kernel: str, make: bool = True) -> Entry:
        """The validator that asks this kernel."""
        return self.validator(make, self.shop.matrix.kernels[kernel].libbpf)

    def validator_action(self, loader: str = "") -> Action:
        """The action of a validator."""
        return self.planned(f"validator:{loader}", lambda: self._validator_action(loader))

    def _validator_action(self, loader: str) -> Action:
        if loader:
            return plan.loader_action(loader, self.validator_action(), self.libbpf_of(loader))
        sources = {p.name: self.shop.memo.digest(p) for p in VALIDATOR.iterdir() if p.suffix in (".c", ".h", ".py")}
        return plan.validator_action(sources, self.libbpf_source, self._compiler(), "amd64")

    @property
    def libbpf_source(self) -> str:
        """Digest of the source tarball of the project's own libbpf, from the lock."""
        return self.libbpf_of("")

    def libbpf_of(self, loader: str) -> str:
        """Digest of a loader's source tarball, from the lock."""
        return self._locked_source(loader).files[0].digest

    def _locked_source(self, loader: str) -> LockedPackage:
        name = libbpfs.source_of(loader)
        locked = self.shop.lock.sources.get(name)
        if locked is None:
            raise ConfigError(f"{name}: not in {self.shop.config['paths.lock']}", hint=RELOCK)
        return locked

    def _compiler(self) -> str:
        def ask(tool: Path) -> str:
            from bpfcompat.validator.build import compiler_identity

            return digest_bytes(repr(sorted(compiler_identity(str(tool)).items())).encode())

        return self.shop.memo.tool(self.shop.config["build.cc"], "gcc", ask)

    def _make_validator(self, work: Path, loader: str) -> Made:
        from bpfcompat.validator.build import build_validator

        label = f"validator:{loader}" if loader else "validator"
        lent = self._borrowed_validator(loader, label)
        if lent is not None:
            return lent
        self.shop.voice.say(f"   {label}: building with libbpf {self._locked_source(loader).version}")
        tarball, own = (self.tarball(name, label) for name in (loader, ""))
        built = build_validator(tarball, work, self.shop.config["build.cc"], own if loader else None)
        files = {"validator": built.validator, "libbpf.so": built.libbpf_so}
        headers = {f"include/bpf/{path.name}": path for path in built.headers}
        outputs = {name: read_bounded(path, 64 << 20) for name, path in {**files, **headers}.items()}
        return Made({**outputs, "attach.tsv": built.attach_table}, {"libbpf": built.version})

    def _borrowed_validator(self, loader: str, label: str) -> Made | None:
        """The build that the lock names, if it is of these very sources and a registry lends it."""
        from bpfcompat import lending

        locked = self.shop.lock.validators.get(loader)
        if locked is None or locked.recipe != plan.recipe_of(self.validator_action(loader)):
            return None
        data = lending.borrowed(self, lending.VALIDATORS, label, locked.digest, locked.size)
        try:
            return Made(*lending.unarchive(data)) if data is not None else None
        except BpfcompatError as error:
            self.shop.voice.say(f"!! borrow: {label}: {error}; built here")
            return None

    def tarball(self, loader: str, label: str) -> Path:
        """The source package of a loader, fetched if it is not there; `label` says who waits for it."""
        return self.obtain(self._locked_source(loader).files[0], label)

    # --- objects

    def object(self, name: str, make: bool = True) -> Blob:
        """An object's bytes in the store."""
        spec = self.shop.matrix.objects[name]
        return self.have(self.object_action(name, make), lambda work: self._make_object(spec, work), make).outputs[
            "object"
        ]

    def object_action(self, name: str, make: bool = True) -> Action:
        """The action of an object: compiled, taken from a package, or as it lies there."""
        spec = self.shop.matrix.objects[name]
        return self.planned(f"object:{name}", lambda: self._object_action(spec, make))

    def _object_action(self, spec: ObjectSpec, make: bool) -> Action:
        if spec.prebuilt is not None:
            return plan.prebuilt_action(spec, self.shop.memo.digest(spec.prebuilt))
        if spec.package is not None:
            locked = self.shop.lock.packages.get(spec.name)
            if locked is None:
                raise ConfigError(f"object {spec.name!r}: not in {self.shop.config['paths.lock']}", hint=RELOCK)
            return plan.member_action(spec, locked.files[0].digest)
        return self._compiled(spec, make)

    def _compiled(self, spec: ObjectSpec, make: bool) -> Action:
        from bpfcompat.objects import FLAGS, clang_identity, sources_of

        config, memo = self.shop.config, self.shop.memo
        header = self.header(make)
        flags = (*FLAGS, *config["build.cflags"], *spec.cflags)
        sources = {name: memo.digest(path) for name, path in sources_of(spec, config).items()}
        clang = memo.tool(config["build.clang"], "clang", clang_identity)
        return plan.compiled_action(spec, sources, header.digest, self.libbpf_source, clang, flags)

    def _make_object(self, spec: ObjectSpec, work: Path) -> Made:
        from bpfcompat import objects

        if spec.prebuilt is not None:
            data = objects.read_prebuilt(spec.prebuilt, MAX_OBJECT)
            if digest_bytes(data) != self.object_action(spec.name).inputs["file"]:
                raise ObjectError(f"object {spec.name!r}: {spec.prebuilt}: {CHANGED}", hint=AGAIN)
            return Made({"object": self._inside(spec, data)})
        if spec.package is not None:
            return Made({"object": self._inside(spec, self._member(spec))})
        entry, store = self.validator(), self.shop.store
        headers = {n: store.read(b) for n, b in entry.outputs.items() if n.startswith("include/")}
        headers["include/vmlinux.h"] = store.read(self.header())
        data = objects.compile_object(spec, self.shop.config, headers, work)
        if self._compiled(spec, make=True) != self.object_action(spec.name):
            raise ObjectError(f"object {spec.name!r}: its sources {CHANGED}", hint=AGAIN)
        return Made({"object": data})

    def _inside(self, spec: ObjectSpec, data: bytes) -> bytes:
        if not spec.embedded:
            return data
        from bpfcompat.carve import nth_object

        return nth_object(data, spec.embedded, f"object {spec.name!r}")

    def _member(self, spec: ObjectSpec) -> bytes:
        from bpfcompat.kernels.extract import deb_member

        deb = self.obtain(self.shop.lock.packages[spec.name].files[0], f"object:{spec.name}")
        return deb_member(deb, spec.member or "", MAX_OBJECT)

    def types_index(self, btf: Blob, make: bool = True) -> Blob:
        """The index of a kernel's types, by which a name is found at once."""
        return self.have(plan.types_action(btf.digest), lambda _: self._make_index(btf), make).outputs["index"]

    def _make_index(self, btf: Blob) -> Made:
        from bpfcompat.btfindex import make_index

        return Made({"index": make_index(self.shop.store.read(btf))})

    def header(self, make: bool = True) -> Blob:
        """vmlinux.h of the kernel that [build] vmlinux names."""
        btf, action = self._header_btf(make), self.header_action(make)
        return self.have(action, lambda work: self._make_header(btf, work), make).outputs["vmlinux.h"]

    def header_action(self, make: bool = True) -> Action:
        """The action of vmlinux.h."""
        return plan.header_action(self._header_btf(make).digest, self.libbpf_source)

    def _header_btf(self, make: bool) -> Blob:
        name = self.shop.config["build.vmlinux"]
        if name not in self.shop.matrix.kernels:
            raise ConfigError(f"bpfcompat.toml: [build] vmlinux: no kernel is named {name!r}")
        btf = self.kernel(name, make).btf
        if btf is None:
            raise ConfigError(
                f"bpfcompat.toml: [build] vmlinux: kernel {name!r} has no BTF", hint="name another kernel"
            )
        return btf

    def _make_header(self, btf: Blob, work: Path) -> Made:
        from bpfcompat.libbpf import dump_header

        library = self.shop.store.checked(self.validator().outputs["libbpf.so"])
        dump_header(library, self.shop.store.read(btf), work / "vmlinux.h")
        return Made({"vmlinux.h": read_bounded(work / "vmlinux.h", 256 << 20)})

    # --- files beside the object

    def files(self, name: str, make: bool = True) -> Blob | None:
        """The archive that an object's guests have beside it; None where nothing was declared."""
        action = self.files_action(name, make)
        if action is None:
            return None
        from bpfcompat.guestfiles import check_room

        entry = self.have(action, lambda work: self._make_files(name), make)
        check_room(int(entry.facts["needed"]), self.shop.config["guest.memory_mb"], f"object {name!r}: files")
        return entry.outputs["files"]

    def files_action(self, name: str, make: bool = True) -> Action | None:
        """The action of packing what an object's guests have beside it, if they have anything."""
        return self.planned(f"files:{name}", lambda: self._files_action(self.shop.matrix.objects[name], make))

    def packing_action(self, name: str, make: bool = True) -> Action:
        """The same for an object whose guests have files; NotThere for any other."""
        action = self.files_action(name, make)
        if action is None:
            raise NotThere(f"files:{name}")
        return action

    def _files_action(self, spec: ObjectSpec, make: bool = True) -> Action | None:
        from bpfcompat import outfit

        beside = {place: self.object(other, make).digest for place, other in spec.beside.items()}
        parts = outfit.parts(spec, self.shop.memo.digest, self.shop.lock, beside)
        return plan.files_action(spec, parts) if parts else None

    def _make_files(self, name: str) -> Made:
        from bpfcompat import guestfiles, outfit

        spec, where = self.shop.matrix.objects[name], f"object {name!r}: files"
        beside = {place: self.shop.store.read(self.object(other)) for place, other in spec.beside.items()}
        fetched = partial(self.obtain, label=f"object:{name}")
        entries, left_out = outfit.entries(spec, self.shop.lock, fetched, beside)
        if self._files_action(spec) != self.files_action(name):
            raise ObjectError(f"{where} {CHANGED}", hint=AGAIN)
        if left_out:
            self.shop.voice.say(f"   object:{name}: of its loader's root file system: {left_out}")
        needed = guestfiles.memory_needed(len(entry.data) for entry in entries)
        return Made({"files": guestfiles.pack_whole(entries, where)}, {"needed": needed})

    def command(self, name: str, make: bool = True) -> dict[str, Any] | None:
        """What is asked of an object's own loader, as it enters the key; None where libbpf is asked."""
        spec = self.shop.matrix.objects[name].command
        files = self.files(name, make) if spec else None
        if spec is None or files is None:
            return None
        from bpfcompat import loaders

        return loaders.asked(spec, self.shop.memo.digest(spec.binary) if spec.binary else files.digest)

    # --- guests

    def initramfs(self, kernel: str, make: bool = True) -> Blob:
        """What this kernel's guests boot into."""
        action = self.initramfs_action(kernel, make)
        return self.have(action, lambda work: self._make_initramfs(kernel), make).outputs["initramfs"]

    def initramfs_action(self, kernel: str, make: bool = True) -> Action:
        """The action of a kernel's initramfs."""
        validator = self.validator_for(kernel, make).outputs["validator"].digest
        under, names = self.shop.matrix.kernels[kernel].conditions, kmods.own(self, kernel, make)
        modules = {"index": kmods.digest_of(self, kernel, make), "names": list(names)} if names else None
        return plan.initramfs_action(self.kernel(kernel, make), validator, under, modules)

    def _make_initramfs(self, name: str) -> Made:
        from bpfcompat.initramfs import guest_initramfs

        kernel, store = self.kernel(name), self.shop.store
        config = store.read(kernel.config) if kernel.config else None
        told = conditions.guest_lines(self.shop.matrix.kernels[name].conditions)
        files = [*kmods.content(self, name), *([("conditions", "\n".join((*told, "")).encode())] if told else [])]
        validator = store.read(self.validator_for(name).outputs["validator"])
        return Made({"initramfs": guest_initramfs(validator, kernel.release, config, files)})

    def modules_action(self, kernel: str) -> Action:
        """The action that reads a kernel's modules; NotThere where there are none to be read."""
        action = kmods.action_of(self, kernel, make=False)
        if action is None:
            raise NotThere(f"modules:{kernel}")
        return action

    def command_line(self, kernel: str) -> str:
        """The kernel's command line, with what its entry adds."""
        from bpfcompat.qemu import COMMAND_LINE

        return COMMAND_LINE + conditions.added_words(self.shop.matrix.kernels[kernel].conditions)

    def column(self, kernel: str, make: bool = True) -> plan.Column:
        """What all probes of a kernel share."""
        return self.planned(f"column:{kernel}", lambda: self._column(kernel, make))

    def _column(self, kernel: str, make: bool) -> plan.Column:
        from bpfcompat.qemu import machine_class

        image = self.initramfs(kernel, make)
        validator = self.validator_for(kernel, make).outputs["validator"].digest
        machine = machine_class(self.shop.config["guest.memory_mb"])
        under, modules = self.shop.matrix.kernels[kernel].conditions, kmods.digest_of(self, kernel, make)
        return plan.column(
            self.kernel(kernel, make), image, validator, self.command_line(kernel), machine, under, modules
        )

    def probe_spec(self, pair: Pair, make: bool = True) -> dict[str, Any]:
        """What the validator is told to do, as it enters the key."""
        spec, files = self.shop.matrix.objects[pair.object], self.files(pair.object, make)
        return {
            "attach": str(spec.attach),
            "log_kb": self.shop.config["guest.log_kb"],
            **({"files": files.digest} if files else {}),
            **({"declared": spec.declared.to_json()} if spec.declared else {}),
            **self._asked_tests(pair.object),
            **kmods.spec_of(spec),
            **({"command": command} if (command := self.command(pair.object, make)) else {}),
        }

    def _asked_tests(self, name: str) -> dict[str, Any]:
        tests = self.shop.matrix.objects[name].tests
        if not tests:
            return {}
        from bpfcompat.behaviour import asked

        return {"tests": [asked(test) for test in tests]}

    def expected(self, name: str) -> list[Any]:
        """What an object's behaviour tests are held against; part of the verdict's key, and not of the probe's."""
        tests = self.shop.matrix.objects[name].tests
        if not tests:
            return []
        from bpfcompat.behaviour import expected

        return [expected(test) for test in tests]

    def fit_tests(self, name: str) -> None:
        """ConfigError where a behaviour test names a program that its object has not."""
        tests = self.shop.matrix.objects[name].tests
        if not any(test.programs or test.run for test in tests):
            return
        from bpfcompat import fitting

        fitting.fit_tests(tests, self.facts(name), f"[objects.{name}]")

    def facts(self, name: str) -> "ObjectFacts | str":
        """What an object is as its file tells it, or why it cannot be read; taken apart once in a run."""
        from bpfcompat import elf

        return self.planned(f"facts:{name}", lambda: elf.facts_or_fault(self.shop.store.read(self.object(name))))

    def recipe(self, pair: Pair, make: bool = True) -> dict[str, Any]:
        """The whole question as it is stated: what the validator is told to do, and what is expected of it."""
        wanted = self.expected(pair.object)
        return {**self.probe_spec(pair, make), **({"expected": wanted} if wanted else {})}

    def probe_action(self, pair: Pair, make: bool = True) -> Action:
        """The action of asking one kernel about one object."""
        column, digest = self.column(pair.kernel, make), self.object(pair.object, make).digest
        return plan.probe_action(pair, column, digest, self.probe_spec(pair, make))
