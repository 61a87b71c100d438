"""CO-RE relocations of an object, resolved against the types of a kernel by libbpf's rules, without libbpf or a guest.

The rules are those of libbpf's relo_core.c, in its order: the type that is accessed is searched by name without
flavour (`task_struct___old` is `task_struct`), members by exact name through anonymous structures, array elements
within bounds, enumerators by name without flavour.  Of several types of that name all that match must agree.  What the
guests report of the same relocations is held against this by a test.  Pure; depths and counts are bounded.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import IntEnum, StrEnum
from typing import NamedTuple

from bpfcompat.btfext import CoreRelo
from bpfcompat.btfindex import KernelTypes, essential
from bpfcompat.btftypes import Kind, Member, Type, Types
from bpfcompat.errors import ObjectError
from bpfcompat.insns import INSN, Code, Function
from bpfcompat.likeness import similar
from bpfcompat.lineinfo import Debug

MAX_SPEC = 64  # steps of one access, as in libbpf
MAX_DEPTH = 32
_U64 = (1 << 64) - 1
_ACCESSES = (1, 2, 3)  # classes LDX, ST and STX; their value is in the offset, all others' in the immediate


class RelocationKind(IntEnum):
    """enum bpf_core_relo_kind of the uapi header."""

    BYTE_OFF = 0
    BYTE_SZ = 1
    FIELD_EXISTS = 2
    SIGNED = 3
    LSHIFT_U64 = 4
    RSHIFT_U64 = 5
    LOCAL_TYPE_ID = 6
    TARGET_TYPE_ID = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


_K = RelocationKind
_UNCHECKED = (_K.BYTE_OFF, _K.BYTE_SZ, _K.LSHIFT_U64)  # of a bit field
_KINDS = {int(kind): kind for kind in RelocationKind}
_TYPE_BASED = (_K.LOCAL_TYPE_ID, _K.TARGET_TYPE_ID, _K.TYPE_EXISTS, _K.TYPE_SIZE, _K.TYPE_MATCHES)
_ENUM_BASED = (_K.ENUMVAL_EXISTS, _K.ENUMVAL_VALUE)
GUARDS = (_K.FIELD_EXISTS, _K.TYPE_EXISTS, _K.TYPE_MATCHES, _K.ENUMVAL_EXISTS)
_COMPOSITE = (Kind.STRUCT, Kind.UNION)
_ENUMS = (Kind.ENUM, Kind.ENUM64)
_KIND_WORDS = {Kind.FWD: "fwd", Kind.FUNC_PROTO: "func_proto", Kind.TYPE_TAG: "type_tag", Kind.DECL_TAG: "decl_tag"}


class Outcome(StrEnum):
    """What a kernel has for a relocation; `INVALID`: the object's own record is not as the format says."""

    FOUND = "found"
    MISSING = "missing"
    AMBIGUOUS = "ambiguous"
    INVALID = "invalid"


class Step(NamedTuple):
    """One step of an access: in this type the member (or element) of this number; `name` is "" for an element."""

    type: int
    number: int
    name: str


class Access(NamedTuple):
    """A parsed access: the type it begins at, its named steps, and the offset in bits that they add up to."""

    root: int
    steps: tuple[Step, ...]
    bits: int


class Local(NamedTuple):
    """One relocation as the object has it: `insn` counts in `function`.

    `kind` and `spec` are libbpf's words (`byte_off`, `struct task_struct.pid`), as in a guest's report.
    """

    function: str
    section: str
    insn: int
    kind: RelocationKind
    spec: str
    access: Access | None
    fault: str = ""
    same: int = 0  # equal for relocations that are equal but for their place
    accesses: bool = False  # its instruction loads or stores
    written: int | None = None  # what stands in the instruction, where libbpf does not check it: of a bit field

    @property
    def word(self) -> str:
        """The kind as libbpf names it."""
        return self.kind.name.lower()


class Resolved(NamedTuple):
    """What a kernel has for a relocation.

    `values` are before and after, None where there is no match: then the instruction is `poisoned` and must not be
    reached, except for a question of existence, which is answered with 0.  For what is missing, `where` is the type
    that was looked in ("" where not even the type is there), `wanted` the name that it lacks, `closest` what it has.
    """

    local: Local
    outcome: Outcome
    values: tuple[int, int] | None = None
    poisoned: bool = False
    where: str = ""
    wanted: str = ""
    closest: tuple[str, ...] = ()
    fault: str = ""


class _InvalidError(Exception):
    """A relocation that libbpf refuses outright; the message says why."""


_REFUSED = (_InvalidError, ObjectError, struct.error, RecursionError)


class _Value(NamedTuple):
    """What a relocation comes to: the number, whether there is none, and the size and type of the field it is of."""

    number: int
    poison: bool = False
    size: int = 0
    type: int = 0


class _Side:
    """One side's types with the few helpers that both sides need; members are read once a type."""

    def __init__(self, types: Types, little: bool = True) -> None:
        self.types, self.little = types, little
        self._members: dict[int, tuple[Member, ...]] = {}

    def behind(self, number: int) -> tuple[int, Type]:
        """The type behind typedefs and qualifiers; void as an INT of no size."""
        if number == 0:
            return 0, _VOID
        try:
            return self.types.resolved(number)
        except ObjectError:
            if self._ends_in_void(number):
                return 0, _VOID
            raise

    def _ends_in_void(self, number: int) -> bool:
        for _ in range(MAX_SPEC):
            if number == 0:
                return True
            number = self.types[number].size_or_type
        return False

    def members(self, number: int, of: Type) -> tuple[Member, ...]:
        found = self._members.get(number)
        if found is None:
            found = self._members[number] = tuple(self.types.members(of))
        return found

    def is_flexible(self, step: Step, count: int) -> bool:
        """Whether an array that this step led to has no bounds: the last member of its structure, of no length."""
        return bool(step.name) and count == 0 and step.number == self.types[step.type].vlen - 1

    def title(self, number: int) -> str:
        """`struct task_struct`, as libbpf writes a type."""
        found = self.types[number]
        return f"{_KIND_WORDS.get(found.kind, found.kind.name.lower())} {found.name or '<anon>'}"


_VOID = Type(Kind.INT, "", False, 0, 0, -1)


# --- the object's side


def relocations(debug: Debug) -> tuple[Local, ...]:
    """All CO-RE relocations of an object, in libbpf's order; ObjectError when its BTF cannot be read."""
    types = debug.types
    if types is None:
        return ()
    side, places = _Side(types), _by_section(debug.code)
    known: dict[tuple[int, int, int], tuple[str, Access | None, str, int]] = {}
    found = []
    for section, rows in debug.ext.relocations.items():
        body = debug.code.elf.contents(debug.code.elf.named(section))
        for row in rows:
            function = _function_at(places.get(section, ([], [])), row.offset // INSN)
            if function is None or row.kind not in _KINDS or row.offset + INSN > len(body):
                continue
            key = (row.type, row.access, row.kind)
            if key not in known:
                known[key] = (*_parsed(side, row), len(known))
            spec, access, fault, same = known[key]
            insn, accesses = row.offset // INSN - function.start, body[row.offset] & 7 in _ACCESSES
            kind, order = _KINDS[row.kind], debug.code.elf.order
            own = _written(body, row.offset, order) if access and _is_unchecked(side, kind, access) else None
            found.append(Local(function.name, section, insn, kind, spec, access, fault, same, accesses, own))
    return tuple(found)


def _is_unchecked(side: _Side, kind: RelocationKind, access: Access) -> bool:
    """True where compilers may disagree with libbpf on the value, so that libbpf takes what it finds."""
    if kind not in _UNCHECKED or not access.steps or not access.steps[-1].name:
        return False
    step = access.steps[-1]
    return bool(side.members(step.type, side.types[step.type])[step.number].bits)


def _written(body: bytes, at: int, order: str) -> int:
    code, offset, immediate = struct.unpack_from(f"{order}Bxhi", body, at)
    return int(offset if code & 7 in _ACCESSES else immediate)


def _by_section(code: Code) -> dict[str, tuple[list[int], list[Function]]]:
    found: dict[str, tuple[list[int], list[Function]]] = {}
    for function in sorted(code.functions, key=lambda f: f.start):
        starts, functions = found.setdefault(function.section, ([], []))
        starts.append(function.start)
        functions.append(function)
    return found


def _function_at(there: tuple[list[int], list[Function]], insn: int) -> Function | None:
    starts, functions = there
    number = bisect_right(starts, insn) - 1
    return functions[number] if number >= 0 and insn < starts[number] + functions[number].insns else None


def _parsed(side: _Side, row: CoreRelo) -> tuple[str, Access | None, str]:
    try:
        access = _access(side, row.type, side.types.text(row.access), RelocationKind(row.kind))
        return _spec_text(side, access, RelocationKind(row.kind)), access, ""
    except _REFUSED as error:
        return "", None, str(error)[:200]


def _access(side: _Side, root: int, text: str, kind: RelocationKind) -> Access:
    parts = text.split(":")
    if (
        not text
        or len(parts) > MAX_SPEC
        or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)
    ):
        raise _InvalidError(f"access {text[:40]!r}: expected numbers between colons")
    numbers = [int(part) for part in parts]
    if kind in _TYPE_BASED:
        if numbers != [0]:
            raise _InvalidError(f"access {text[:40]!r} of a type")
        side.types[root]
        return Access(root, (), 0)
    number, found = side.behind(root)
    if kind in _ENUM_BASED:
        if found.kind not in _ENUMS or len(numbers) != 1:
            raise _InvalidError(f"access {text[:40]!r} of an enumerator")
        names = list(side.types.enumerators(found))
        if numbers[0] >= len(names):
            raise _InvalidError(f"enumerator {numbers[0]} of {len(names)}")
        return Access(root, (Step(number, numbers[0], names[numbers[0]]),), 0)
    return _field_access(side, root, number, numbers)


def _field_access(side: _Side, root: int, number: int, numbers: list[int]) -> Access:
    steps = [Step(number, numbers[0], "")]
    bits = numbers[0] * _size(side, number) * 8
    for index in numbers[1:]:
        number, found = side.behind(number)
        if found.kind in _COMPOSITE:
            members = side.members(number, found)
            if index >= len(members):
                raise _InvalidError(f"member {index} of {len(members)}")
            member = members[index]
            bits += member.offset
            if member.name:
                steps.append(Step(number, index, member.name))
            number = member.type
        elif found.kind is Kind.ARRAY:
            element, count = side.types.element(found)
            if index >= count and not side.is_flexible(steps[-1], count):
                raise _InvalidError(f"element {index} of {count}")
            number, _ = side.behind(element)
            steps.append(Step(number, index, ""))
            bits += index * _size(side, number) * 8
        else:
            raise _InvalidError(f"an access into type {number}, which has no members")
    return Access(root, tuple(steps), bits)


def _size(side: _Side, number: int) -> int:
    return side.types.size(number) if number else 0


def _spec_text(side: _Side, access: Access, kind: RelocationKind) -> str:
    title = side.title(access.root)
    if kind in _TYPE_BASED:
        return title
    if kind in _ENUM_BASED:
        step = access.steps[0]
        value = side.types.enumerators(side.types[step.type])[step.name]
        return f"{title}::{step.name} = {value}"
    named = (f".{s.name}" if s.name else f"[{s.number}]" for n, s in enumerate(access.steps) if s.name or n or s.number)
    return title + "".join(named)


# --- the kernel's side


class Resolver:
    """Resolves an object's relocations against one kernel, in their order: what matched once narrows what follows."""

    def __init__(self, debug: Debug, target: KernelTypes) -> None:
        types = debug.types
        if types is None:
            raise ObjectError("btf: the object has no types")
        self._little = debug.code.elf.order == "<"
        self._local, self._target = _Side(types, self._little), _Side(target, self._little)
        self._kernel = target
        self._candidates: dict[int, list[int]] = {}
        self._known: dict[int, Resolved] = {}
        self._sizes: dict[int, str] = {}

    def all(self, locals_: Iterable[Local]) -> Iterator[Resolved]:
        """The relocations, each with its outcome; of equal ones only the first is worked out."""
        known = self._known
        for local in locals_:
            found = known.get(local.same)
            if found is None:
                found = known[local.same] = self._resolve(local)
            if found.values and local.written is not None:
                found = found._replace(values=(local.written & _U64, found.values[1]))
            fault = self._as_used(local) if local.accesses and local.kind is _K.BYTE_OFF and found.values else ""
            if fault:
                yield found._replace(local=local, values=None, poisoned=True, fault=fault)
            else:
                yield Resolved(local, *found[1:])

    def _resolve(self, local: Local) -> Resolved:
        if local.access is None:
            return Resolved(local, Outcome.INVALID, poisoned=True, fault=local.fault)
        try:
            return self._match(local, local.access)
        except _REFUSED as error:
            return Resolved(local, Outcome.INVALID, poisoned=True, fault=str(error)[:200])

    def _match(self, local: Local, access: Access) -> Resolved:
        before = self._value(local.kind, self._local, access)
        if local.kind is _K.LOCAL_TYPE_ID:
            return Resolved(local, Outcome.FOUND, (access.root, access.root))
        if not self._local.types[access.root].name:
            raise _InvalidError("a type without a name cannot be searched")
        best: tuple[Access, _Value] | None = None
        matching = []
        for number in self._of(access.root):
            found = self._spec_match(local.kind, access, number)
            if found is None:
                continue
            value = self._value(local.kind, self._target, found)
            if best and (found.bits, value.number, value.poison) != (best[0].bits, best[1].number, best[1].poison):
                return Resolved(local, Outcome.AMBIGUOUS, poisoned=True, where=self._target.title(number))
            best = best or (found, value)
            matching.append(number)
        if best is None:
            return self._missing(local, access, before)
        self._candidates[access.root] = matching
        if best[1].poison:
            return Resolved(local, Outcome.MISSING, poisoned=True)
        return Resolved(local, Outcome.FOUND, (before.number & _U64, best[1].number & _U64))

    def _of(self, root: int) -> list[int]:
        if root not in self._candidates:
            wanted = self._local.types[root]
            kinds = _ENUMS if wanted.kind in _ENUMS else (wanted.kind,)
            self._candidates[root] = self._kernel.candidates(wanted.name, *kinds)
        return self._candidates[root]

    def _missing(self, local: Local, access: Access, before: _Value) -> Resolved:
        if local.kind in GUARDS or local.kind in _TYPE_BASED:
            found = Resolved(local, Outcome.MISSING, (before.number & _U64, 0))
        else:
            found = Resolved(local, Outcome.MISSING, poisoned=True)
        where, wanted, closest = self._closest(local, access)
        return found._replace(where=where, wanted=wanted, closest=closest)

    # --- matching

    def _spec_match(self, kind: RelocationKind, access: Access, number: int) -> Access | None:
        if kind is _K.TYPE_MATCHES:
            return Access(number, (), 0) if self._types_match(access.root, number, False, MAX_DEPTH) else None
        if kind in _TYPE_BASED:
            return Access(number, (), 0) if self._compatible(access.root, number, MAX_DEPTH) else None
        if kind in _ENUM_BASED:
            return self._enumerator(access, number)
        return self._field(access, number)[0]

    def _enumerator(self, access: Access, number: int) -> Access | None:
        behind, found = self._target.behind(number)
        if found.kind not in _ENUMS:
            return None
        wanted = essential(access.steps[0].name)
        for index, name in enumerate(self._target.types.enumerators(found)):
            if essential(name) == wanted:
                return Access(number, (Step(behind, index, name),), 0)
        return None

    def _field(self, access: Access, root: int) -> tuple[Access | None, int, int]:
        """The access in the kernel's type; else None, how many steps fit, and the type where it went no further."""
        steps: list[Step] = []
        bits, number = 0, root
        for at, step in enumerate(access.steps):
            number, found = self._target.behind(number)
            if step.name:
                member = self._member(step, number, found, MAX_DEPTH, set())
                if member is None:
                    return None, at, number
                taken, offset, number = member
                steps.append(taken)
                bits += offset
                continue
            if at:
                if found.kind is not Kind.ARRAY:
                    return None, at, number
                element, count = self._target.types.element(found)
                if step.number >= count and not self._target.is_flexible(steps[-1], count):
                    return None, at, number
                number, _ = self._target.behind(element)
            steps.append(Step(number, step.number, ""))
            bits += step.number * _size(self._target, number) * 8
        return Access(root, tuple(steps), bits), len(access.steps), number

    def _member(self, step: Step, number: int, found: Type, depth: int, seen: set[int]) -> tuple[Step, int, int] | None:
        """A member of this name, in this structure or an anonymous one in it: its step, offset in bits and type.

        `seen` are those that have been searched: types that hold each other have many ways through them.
        """
        if found.kind not in _COMPOSITE or depth == 0 or number in seen:
            return None
        seen.add(number)
        for index, member in enumerate(self._target.members(number, found)):
            if not member.name:
                inner = self._member(step, *self._target.behind(member.type), depth - 1, seen)
                if inner is not None:
                    return inner[0], member.offset + inner[1], inner[2]
            elif member.name == step.name:
                mine = self._local.members(step.type, self._local.types[step.type])[step.number].type
                if not self._fields_compatible(mine, member.type):
                    return None
                return Step(number, index, member.name), member.offset, member.type
        return None

    def _fields_compatible(self, mine: int, its: int) -> bool:
        for _ in range(MAX_DEPTH):
            (_, local), (_, target) = self._local.behind(mine), self._target.behind(its)
            if local.kind in _COMPOSITE and target.kind in _COMPOSITE:
                return True
            if not _alike(local, target):
                return False
            if local.kind in (Kind.PTR, Kind.FLOAT):
                return True
            if local.kind in (Kind.FWD, *_ENUMS):
                one, other = essential(local.name), essential(target.name)
                return not one or not other or one == other
            if local.kind is Kind.INT:
                return not _int_offset(self._local, local) and not _int_offset(self._target, target)
            if local.kind is not Kind.ARRAY:
                return False
            mine, its = self._local.types.element(local)[0], self._target.types.element(target)[0]
        return False

    def _compatible(self, mine: int, its: int, depth: int) -> bool:
        """Whether a type of the same name is one of the same sort: type_exists, type_size, target_type_id."""
        if not _alike(self._raw(self._local, mine), self._raw(self._target, its)):
            return False
        while depth > 0:
            depth -= 1
            (_, local), (_, target) = self._local.behind(mine), self._target.behind(its)
            if not _alike(local, target):
                return False
            if local is _VOID or local.kind in (*_COMPOSITE, *_ENUMS, Kind.FWD):
                return True
            if local.kind is Kind.INT:
                return not _int_offset(self._local, local) and not _int_offset(self._target, target)
            if local.kind is Kind.PTR:
                mine, its = local.size_or_type, target.size_or_type
            elif local.kind is Kind.ARRAY:
                mine, its = self._local.types.element(local)[0], self._target.types.element(target)[0]
            elif local.kind is Kind.FUNC_PROTO:
                pairs = self._parameters(local, target)
                if pairs is None or not all(self._compatible_behind(a, b, depth) for a, b in pairs):
                    return False
                mine, its = local.size_or_type, target.size_or_type
            else:
                return False
        raise _InvalidError("types too deep")

    def _compatible_behind(self, mine: int, its: int, depth: int) -> bool:
        return self._compatible(self._local.behind(mine)[0], self._target.behind(its)[0], depth)

    def _parameters(self, local: Type, target: Type) -> list[tuple[int, int]] | None:
        if local.vlen != target.vlen:
            return None
        pairs = zip(self._local.types.parameters(local), self._target.types.parameters(target), strict=True)
        return [(mine, its) for (_, mine), (_, its) in pairs]

    @staticmethod
    def _raw(side: _Side, number: int) -> Type:
        return side.types[number] if number else _VOID

    def _types_match(self, mine: int, its: int, behind_pointer: bool, depth: int) -> bool:
        """type_matches: names and members too, as far as the object declares them."""
        while depth > 0:
            depth -= 1
            (mine, local), (its, target) = self._local.behind(mine), self._target.behind(its)
            if essential(local.name) != essential(target.name):
                return False
            if local is _VOID or target is _VOID:
                return local is target
            if local.kind in _ENUMS:
                return target.kind in _ENUMS and self._enums_match(local, target)
            if local.kind is Kind.FWD or local.kind in _COMPOSITE:
                return self._structures_match((mine, local), (its, target), behind_pointer, depth)
            if local.kind is not target.kind:
                return False
            if local.kind is Kind.INT:
                signs = _is_signed(self._local, local), _is_signed(self._target, target)
                return local.size_or_type == target.size_or_type and signs[0] == signs[1]
            if local.kind is Kind.PTR:
                behind_pointer, mine, its = True, local.size_or_type, target.size_or_type
            elif local.kind is Kind.ARRAY:
                (mine, count), (its, of) = self._local.types.element(local), self._target.types.element(target)
                if count != of:
                    return False
            elif local.kind is Kind.FUNC_PROTO:
                pairs = self._parameters(local, target)
                if pairs is None or not all(self._types_match(a, b, behind_pointer, depth) for a, b in pairs):
                    return False
                mine, its = local.size_or_type, target.size_or_type
            else:
                return False
        raise _InvalidError("types too deep")

    def _enums_match(self, local: Type, target: Type) -> bool:
        there = {essential(name) for name in self._target.types.enumerators(target)}
        return local.vlen <= target.vlen and all(essential(n) in there for n in self._local.types.enumerators(local))

    def _structures_match(self, mine: tuple[int, Type], its: tuple[int, Type], behind: bool, depth: int) -> bool:
        (number, local), (other, target) = mine, its
        if local.kind is Kind.FWD:
            if local.kind is target.kind:
                return local.flag == target.flag
            return behind and target.kind is (Kind.UNION if local.flag else Kind.STRUCT)
        if behind:
            same = local.kind is target.kind
            return same or (target.kind is Kind.FWD and (local.kind is Kind.UNION) == target.flag)
        if local.kind is not target.kind or local.vlen > target.vlen:
            return False
        there = self._target.members(other, target)
        return all(
            any(
                essential(m.name) == essential(t.name) and self._types_match(m.type, t.type, behind, depth)
                for t in there
            )
            for m in self._local.members(number, local)
        )

    # --- values

    def _value(self, kind: RelocationKind, side: _Side, access: Access) -> _Value:
        if kind is _K.FIELD_EXISTS or kind in GUARDS:
            return _Value(1)
        if kind in (_K.LOCAL_TYPE_ID, _K.TARGET_TYPE_ID):
            return _Value(access.root)
        if kind is _K.TYPE_SIZE:
            return _Value(_size(side, access.root))
        step = access.steps[-1]
        if kind is _K.ENUMVAL_VALUE:
            return _Value(side.types.enumerators(side.types[step.type])[step.name])
        return self._field_value(kind, side, access, step)

    def _field_value(self, kind: RelocationKind, side: _Side, access: Access, step: Step) -> _Value:
        if not step.name:
            size = _size(side, step.type)
            if kind is _K.BYTE_OFF:
                return _Value(access.bits // 8, size=size, type=step.type)
            if kind is _K.BYTE_SZ:
                return _Value(size)
            raise _InvalidError(f"{kind.name.lower()} of an element of an array")
        member = side.members(step.type, side.types[step.type])[step.number]
        number, found = side.behind(member.type)
        size, width = _size(side, number), member.bits
        offset = access.bits // 8
        if width:
            size, offset = _bitfield(access.bits, width, found.size_or_type)
        if kind is _K.BYTE_OFF:
            return _Value(offset) if width else _Value(offset, size=size, type=number)
        if kind is _K.BYTE_SZ:
            return _Value(size)
        if kind is _K.SIGNED:
            signed = _is_signed(side, found) if found.kind is Kind.INT else found.flag
            return _Value(int(signed and found.kind in (Kind.INT, *_ENUMS)))
        width = width or size * 8
        if kind is _K.RSHIFT_U64:
            return _Value(64 - width)
        left = 64 - (access.bits + width - offset * 8) if side.little else (8 - size) * 8 + (access.bits - offset * 8)
        return _Value(left)

    def _as_used(self, local: Local) -> str:
        """What is wrong with a load or store of a field that has another size in the kernel."""
        if local.same not in self._sizes and local.access is not None:
            try:
                self._sizes[local.same] = self._resized(local.kind, local.access)
            except _REFUSED as error:
                self._sizes[local.same] = str(error)[:200]
        return self._sizes[local.same]

    def _resized(self, kind: RelocationKind, access: Access) -> str:
        mine = self._value(kind, self._local, access)
        matched = (self._spec_match(kind, access, number) for number in self._of(access.root))
        its = next((self._value(kind, self._target, found) for found in matched if found), mine)
        if mine.size == its.size or self._adjustable(mine.type, its.type):
            return ""
        return f"{mine.size} bytes here, {its.size} in the kernel"

    def _adjustable(self, mine: int, its: int) -> bool:
        (_, local), (_, target) = self._local.behind(mine), self._target.behind(its)
        if local.kind is Kind.PTR and target.kind is Kind.PTR:
            return True
        if local.kind is not Kind.INT or target.kind is not Kind.INT:
            return False
        return not _is_signed(self._local, local) and not _is_signed(self._target, target)

    # --- what there is instead

    def _closest(self, local: Local, access: Access) -> tuple[str, str, tuple[str, ...]]:
        candidates = self._of(access.root)
        if not candidates or local.kind in _TYPE_BASED:
            return "", essential(self._local.types[access.root].name), ()
        if local.kind in _ENUM_BASED:
            there = self._target.types.enumerators(self._target.behind(candidates[0])[1])
            wanted = access.steps[0].name
            return self._target.title(candidates[0]), wanted, similar(wanted, there)
        _, fitted, number = max((self._field(access, n) for n in candidates), key=lambda found: found[1])
        step = access.steps[min(fitted, len(access.steps) - 1)]
        wanted = step.name or f"[{step.number}]"
        names = self._names(number, MAX_DEPTH, set())
        return self._target.title(number), wanted, similar(step.name, names)

    def _names(self, number: int, depth: int, seen: set[int]) -> list[str]:
        number, found = self._target.behind(number)
        if found.kind not in _COMPOSITE or depth == 0 or number in seen:
            return []
        seen.add(number)
        names: list[str] = []
        for member in self._target.members(number, found):
            names.extend([member.name] if member.name else self._names(member.type, depth - 1, seen))
        return names


def _alike(local: Type, target: Type) -> bool:
    return local.kind is target.kind or (local.kind in _ENUMS and target.kind in _ENUMS)


def _int_offset(side: _Side, of: Type) -> int:
    return 0 if of is _VOID else side.types.int_offset(of)


def _is_signed(side: _Side, of: Type) -> bool:
    return of is not _VOID and side.types.integer(of)[0]


def _bitfield(bits: int, width: int, size: int) -> tuple[int, int]:
    """The smallest load that holds a bit field: its size and offset in bytes."""
    if size not in (1, 2, 4, 8):
        raise _InvalidError(f"a bit field of a type of {size} bytes")
    offset = bits // 8 // size * size
    while bits + width - offset * 8 > size * 8:
        if size >= 8:
            raise _InvalidError("a bit field that no load holds")
        size *= 2
        offset = bits // 8 // size * size
    return size, offset
