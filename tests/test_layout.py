"""The shape of the repository: its links, the direction of every import, and one door for each danger."""

import ast
import filecmp
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bpfcompat"
FOLDERS = ("rules", "kernels", "validator", "registry")
MAX_LINES = 50

LAYERS = {
    0: (
        *("bpfcompat", "errors", "digest", "model", "behaviour", "declared", "slugs", "tomledit", "tame"),
        *("addresses", "origins"),
    ),
    1: (
        *("files", "mounts", "process", "conditions", "libbpfs", "expected", "config", "behave", "declare", "loaders"),
        *("dialler", "guard", "fetch", "strictbase64", "strictjson", "voice", "console"),
    ),
    2: (
        *("elf", "btf", "btftypes", "carve", "twins", "libbpf", "wire", "action", "store", "envelope", "keys"),
        *("policy", "logentry", "rootdoc", "rootchain", "trail"),
        *("initramfs", "memo", "includes", "asserts", "host", "inventory", "index", "guestfiles", "rootfs", "oci"),
        *("kernels", "kernels.*", "validator", "validator.*", "measures", "squeezed", "beside"),
        *("builds", "since", "sincetable"),
        *("seats", "shards"),
        *("sections", "insns", "btfext", "btfindex", "lineinfo", "corelo", "anatomy", "flow"),
        *("nearby", "likeness"),
        *("edwards", "note", "tlog"),
    ),
    3: (
        *("refusals", "fixes", "inventoried", "explanation", "causespage", "telling"),
        *(
            "plan",
            "qemu",
            "guest",
            "templates",
            "trying",
            "causes",
            "fates",
            "verdict",
            "statement",
            "manifest",
            "trailhead",
            "objects",
            "gate",
        ),
        *("judging", "costs", "reports", "fitting", "as_declared", "proposing", "commanded", "outfit", "attachtable"),
        *("predicting", "inspecting", "rootedit"),
        *("buildtext", "contradictions", "abilities"),
        *("expecting", "comparing", "veristat", "bisecting"),
    ),
    4: (
        *(
            "realise",
            "kmods",
            "freezing",
            "assuring",
            "asking",
            "control",
            "keeping",
            "checking",
            "looking",
            "foreseeing",
        ),
        *("building", "querying", "borrowing", "lending"),
        *("registry", "registry.*"),
    ),
    5: ("rules", "rules.*", "rooting", "trailing"),
    6: (
        "cli",
        "auditcommands",
        "fsckcommands",
        "keycommands",
        "reproducecommands",
        "trailcommands",
        "verifycommands",
        "witnesscommands",
        "__main__",
    ),
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}

# Who may name a danger, and why.
DOORS: dict[str, dict[str, str]] = {
    "hashlib": {"digest": "the only place that hashes"},
    "subprocess": {"process": "the only place that spawns", "qemu": "the type Popen, in annotations"},
    "multiprocessing": {},
    "pty": {},
    "urllib3": {"guard": "the only place that asks servers"},
    "requests": {"guard": "the only place that asks servers"},
    "socket": {
        "dialler": "the only place that dials hosts",
        "guest": "a pair of sockets to a guest's ports",
        "qemu": "a pair of sockets to a guest's ports",
        "registry.server.listener": "listens",
    },
    "asyncio": {
        "registry.serve": "serves a registry",
        "registry.server.listener": "listens",
        "registry.server.connection": "answers a peer",
    },
    "urllib.request": {},
    "ftplib": {},
    "smtplib": {},
    "http.client": {},
    "pickle": {},
}
SPAWNING = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "execv", "execve", "execvp", "execvpe"}


def sources() -> dict[str, Path]:
    """Every module of the package, by name without `bpfcompat.`, seen through the links once."""
    files = [*PACKAGE.glob("*.py"), *(f for folder in FOLDERS for f in (PACKAGE / folder).rglob("*.py"))]
    return {_name(f): f for f in sorted(files)}


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) or "bpfcompat"


def layer(module: str) -> int | None:
    """The layer of a module, by its own name or its folder's."""
    return LAYER_OF.get(module, LAYER_OF.get(f"{module.partition('.')[0]}.*") if "." in module else None)


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported, at any depth; a relative import as its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.AST, known: frozenset[str]) -> frozenset[str]:
    """The modules of ours that are imported, without `bpfcompat.`."""
    found = set()
    for full in imports(tree):
        top, _, rest = full.partition(".")
        if top == "bpfcompat":
            found.add(next((n for n in (rest, rest.rpartition(".")[0]) if n in known), "bpfcompat"))
    return frozenset(found)


def upward(module: str, tree: ast.AST, known: frozenset[str]) -> list[str]:
    """What is wrong with a module's imports, in words."""
    mine = layer(module)
    if mine is None:
        return [f"bpfcompat.{module} has no layer: say in tests/test_layout.py where it belongs"]
    above = [(other, layer(other)) for other in sorted(own_imports(tree, known))]
    return [
        f"bpfcompat.{module} (layer {mine}) imports bpfcompat.{other} (layer {its})"
        for other, its in above
        if its is None or its > mine
    ]


MODULES = sources()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
KNOWN = frozenset(MODULES)


def strings_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every string of a module that is no docstring, with its line."""
    prose = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value, node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_links(folder: str) -> None:
    """Each folder at the root is in the package too: by a relative link, or as an identical copy."""
    real, linked = ROOT / folder, PACKAGE / folder
    assert real.is_dir() and not real.is_symlink(), f"{folder}/ at the root must be a real folder"
    lost = f"bpfcompat/{folder}: did a copy lose the link to ../{folder}?"
    assert linked.is_dir(), f"{lost}  (ln -s ../{folder} bpfcompat/{folder}; on Windows: git config core.symlinks true)"
    if linked.is_symlink():
        assert linked.readlink() == Path("..") / folder, f"bpfcompat/{folder} points to {linked.readlink()}"
    else:
        differing = [n for n in _files(real) | _files(linked) if not _same(real / n, linked / n)]
        assert not differing, f"{lost}  It is a copy, and differs in: {', '.join(sorted(differing))}"


def _files(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts}


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


@pytest.mark.parametrize("module", MODULES)
def test_direction(module: str) -> None:
    """A module imports from its own layer or below, inside functions too."""
    assert upward(module, TREES[module], KNOWN) == []


@pytest.mark.parametrize(
    "line",
    [
        "import bpfcompat.realise",
        "from bpfcompat import realise",
        "from bpfcompat.realise import Made",
        "def f():\n    from bpfcompat.rules.session import Session",
        "def f():\n    if 0:\n        import bpfcompat.registry.serve as s",
    ],
)
def test_direction_sees(line: str) -> None:
    """An upward import is found however it is written, and both modules are named."""
    (said,) = upward("store", ast.parse(line), KNOWN)
    assert said.startswith("bpfcompat.store (layer 2) imports bpfcompat.r")


def test_every_layer_name() -> None:
    """The table of layers names only modules that exist."""
    plain = [n for n in LAYER_OF if not n.endswith(".*")]
    assert [n for n in plain if n not in KNOWN] == []


def test_no_cycles() -> None:
    """No two modules import each other at module level, not even inside a layer."""
    direct = {name: own_imports(ast.Module(_top(tree), []), KNOWN) for name, tree in TREES.items()}
    done: set[str] = set()
    while ready := {n for n in direct if n not in done and direct[n] - {n, "bpfcompat"} <= done}:
        done |= ready
    assert sorted(direct.keys() - done) == [], "these modules wait for each other"


def _top(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("module", MODULES)
def test_absolute(module: str) -> None:
    """Imports are absolute and go through the package: `rules`, `kernels`, `registry` have two paths otherwise."""
    bad = [full for full in imports(TREES[module]) if full.startswith(".") or full.partition(".")[0] in FOLDERS]
    assert bad == []


@pytest.mark.parametrize("danger", DOORS)
def test_one_door(danger: str) -> None:
    """What is dangerous is imported where the list says, with its reason, and nowhere else."""
    users = {n for n, tree in TREES.items() if any(f == danger or f.startswith(f"{danger}.") for f in imports(tree))}
    assert users <= DOORS[danger].keys(), f"{danger}: use the door ({', '.join(DOORS[danger]) or 'there is none'})"
    assert DOORS[danger].keys() <= users, f"{danger}: this door is no longer used: take it off the list"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "process"])
def test_nothing_spawns(module: str) -> None:
    """Only process.py starts programs: no os.fork, os.exec…, os.system, and no call of subprocess, elsewhere."""
    spawning = [
        f"line {node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if isinstance(node.func.value, ast.Name)
        if node.func.value.id == "subprocess" or (node.func.value.id == "os" and node.func.attr in SPAWNING)
    ]
    assert spawning == []


@pytest.mark.parametrize("module", [m for m in MODULES if m != "qemu"])
def test_nobody_knows_qemu(module: str) -> None:
    """QEMU's program and its options are in qemu.py only."""
    marks = ("qemu-system", "-nodefaults", "-no-reboot", "-incoming", "fw_cfg")
    assert [(text, line) for text, line in strings_in(TREES[module]) if any(m in text for m in marks)] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_shell_no_eval(module: str) -> None:
    """Nothing is run through a shell, and nothing from outside is executed as Python."""
    calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    shells = [c.lineno for c in calls for k in c.keywords if k.arg == "shell"]
    evals = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("eval", "exec", "__import__")]
    assert (shells, evals) == ([], [])


@pytest.mark.parametrize("module", MODULES)
def test_docstring(module: str) -> None:
    """A module says what it is."""
    assert ast.get_docstring(TREES[module])


def python_files() -> list[Path]:
    """All Python of the repository, tests included, each file once."""
    folders = ("tests", "bench", *FOLDERS)
    found = [*PACKAGE.glob("*.py"), *ROOT.glob("*.py"), *(f for d in folders for f in (ROOT / d).rglob("*.py"))]
    return sorted(f for f in found if not any(p.startswith(".") for p in f.relative_to(ROOT).parts))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_short_functions() -> None:
    """No function is longer than fifty lines."""
    long = [
        f"{path.relative_to(ROOT)}:{f.lineno}: {f.name}: {f.end_lineno - f.lineno + 1} lines"
        for path in python_files()
        for f in functions(path)
        if f.end_lineno is not None and f.end_lineno - f.lineno >= MAX_LINES
    ]
    assert long == []


def test_tests_state_facts() -> None:
    """Every test has a docstring: the fact that it holds."""
    silent = [
        f"{path.relative_to(ROOT)}:{f.lineno}: {f.name}"
        for path in python_files()
        if "tests" in path.relative_to(ROOT).parts
        for f in functions(path)
        if f.name.startswith("test_") and not ast.get_docstring(f)
    ]
    assert silent == []
