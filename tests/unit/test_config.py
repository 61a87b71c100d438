"""bpfcompat.toml: one frozen value, and words for whoever wrote the file."""

import contextlib
import pwd
from pathlib import Path
from typing import Any

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import config, verdict
from bpfcompat.config import SETTINGS, Config
from bpfcompat.errors import ConfigError
from bpfcompat.libbpfs import SHIPPED, read_loaders
from bpfcompat.model import Answer, AptSource, AttachMode, DirSource, Expectation, ObjectSpec, UrlSource
from bpfcompat.slugs import SLUGS

REPOSITORY = Path(__file__).resolve().parents[2]
KEYS = [(section, key) for section, keys in SETTINGS.items() for key in keys]
ROOT = Path("/project")
HEX = "ab" * 32


def parsed(text: str | bytes) -> Config:
    """The settings that this file is."""
    data = text if isinstance(text, bytes) else text.encode()
    return config.from_dict(config.parse_toml(data, config.FILE), ROOT)


def refused(text: str | bytes) -> str:
    """What the user is told about this file."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return str(caught.value)


# --- the settings page


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_settings_page(section: str, key: str) -> None:
    """This repository's own bpfcompat.toml has every setting with its default: it is the settings page."""
    page = toml.load(REPOSITORY / config.FILE)
    default = SETTINGS[section][key].default
    assert page[section][key] == (list(default) if isinstance(default, tuple) else default)


def test_settings_page_has_no_more() -> None:
    """The page has no setting that does not exist, and it loads."""
    page = toml.load(REPOSITORY / config.FILE)
    assert {(s, k) for s in page if s not in ("libbpf", "objects", "kernels") for k in page[s]} == set(KEYS)
    assert read_loaders(page["libbpf"], "") == SHIPPED and set(page["libbpf"]) == set(SHIPPED)
    assert config.load(REPOSITORY, environ={}).objects


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_defaults_are_accepted(section: str, key: str) -> None:
    """Every default passes its own check, and is not written over by an empty file."""
    spec = SETTINGS[section][key]
    assert spec.accepts(spec.default)
    assert parsed("")[f"{section}.{key}"] == spec.default


# --- unknown, wrong, out of range


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[guest]\ndeadlne_s = 1", "bpfcompat.toml: [guest]: deadlne_s: unknown key (hint: did you mean deadline_s?)"),
        ("[gest]", "bpfcompat.toml: gest: unknown key (hint: did you mean guest?)"),
        ("[objects.x]\nsouce = 'x'", "bpfcompat.toml: [objects.x]: souce: unknown key (hint: did you mean source?)"),
        ("[serve]\nzzz = 1", "bpfcompat.toml: [serve]: zzz: unknown key (hint: known here: host, port, lend)"),
        ("[kernels.k]\napt = {siute = 'x', package = 'y'}",
         "bpfcompat.toml: [kernels.k]: apt: siute: unknown key (hint: did you mean suite?)"),
    ],
)  # fmt: skip
def test_unknown_key(text: str, said: str) -> None:
    """A key that is not known is an error that names its nearest neighbour."""
    assert refused(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[guest]\nmemory_mb = '256'", "[guest]: memory_mb: expected a whole number from 128 to 65536: with less"),
        ("[guest]\nmemory_mb = 127", "get to user space, got 127"),
        ("[guest]\nmemory_mb = 65537", "get to user space, got 65537"),
        ("[guest]\nmemory_mb = 256.0", "expected a whole number"),
        ("[guest]\nmemory_mb = true", "expected a whole number"),
        ("[guest]\ndeadline_s = nan", "expected a number from 10 to 86400, got nan"),
        ("[guest]\ndeadline_s = inf", "expected a number"),
        ("[guest]\ndeadline_s = true", "expected a number"),
        ("[guest]\nmemory_mb = 1979-05-27", "expected a whole number"),
        ("[guest]\naccelerator = 'KVM'", "expected one of auto, kvm, tcg, got 'KVM'"),
        ("[mirror]\nallow_expired = 1", "expected true or false, got 1"),
        ("[mirror]\nallow_expired = 'true'", "expected true or false"),
        ("[build]\ncflags = '-O2'", "expected a list of strings, got '-O2'"),
        ("[build]\ncflags = [1]", "expected a list of strings"),
        ("[build]\ncflags = ['a\\u0000b']".replace("'", '"'), "expected a list of strings"),
        ('[build]\ncc = "a\\u0000b"', "expected a string"),
        ("[build]\ncc = ['cc']", "expected a string"),
        ("guest = 5", "[guest]: expected a table, got 5"),
        ("[[guest]]\nmemory_mb = 256", "[guest]: expected a table"),
        ("objects = 5", "[objects]: expected tables [objects.NAME], got 5"),
        ("[objects]\nx = 'x.bpf.c'", "[objects]: x: expected a table, got 'x.bpf.c'"),
        ("[[objects.x]]\nsource = 'x'", "[objects]: x: expected a table"),
    ],
)
def test_wrong_value(text: str, said: str) -> None:
    """A value of the wrong kind or beyond its bounds: where, what was expected, what came."""
    assert said in refused(text)


FROM = "[substituters]\nurl = ['https://a.example/', 'https://b.example/']\n"
KEYED = FROM + "keys = ['a.pub']\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FROM, "keys: whose signature counts?"),
        (FROM + "root = ['a.json']", "root: expected one for each url"),
        (FROM + "root = ['a.json', 'b.json']\nkeys = ['a.pub']", "root: has all keys in it"),
        (FROM + "root = ['a.json', 'b.json']\nwitnesses = ['w.vkey']", "root: has all keys in it"),
        (FROM + "root = ['a.json', 'b.json']\nwitnessed = 1", "root: has all keys in it"),
        (KEYED + "needed = 2", "needed: more than there are registries or keys"),
        (KEYED + "witnesses = ['w.vkey']", "witnesses: of which log?"),
        (KEYED + "log_keys = ['l.vkey']\nwitnesses = ['w.vkey']\nwitnessed = 2", "at most the 1 witnesses, got 2"),
        (KEYED + "log_keys = ['l.vkey']\nmax_age_hours = 24", "max_age_hours: without a witness nobody says"),
        ("[substituters]\nurl = ['a', 'a']\nkeys = ['k']", "url: the same registry twice"),
    ],
)
def test_whom_to_borrow_from(text: str, said: str) -> None:
    """Registries without keys, keys without a use, and more than can ever agree are refused."""
    assert said in refused(text)


def test_as_old_as_witnesses_say() -> None:
    """A root document names witnesses itself; beside pinned keys they are named, and then an age may be asked for."""
    parsed(FROM + "root = ['a.json', 'b.json']\nmax_age_hours = 24")
    parsed(KEYED + "log_keys = ['l.vkey']\nwitnesses = ['w.vkey']\nwitnessed = 1\nmax_age_hours = 24")


@pytest.mark.parametrize("low_high", [(128, 65536)])
def test_bounds_are_allowed(low_high: tuple[int, int]) -> None:
    """The bounds themselves are allowed."""
    for value in low_high:
        assert parsed(f"[guest]\nmemory_mb = {value}")["guest.memory_mb"] == value


# --- broken files


@pytest.mark.parametrize(
    "text",
    [
        "[objects.a]\nsource='x'\n[objects.a]\nsource='y'\n",
        "[objects]\na = {source='x'}\n[objects.a]\nprebuilt='y'\n",
        "[objects.a]\nsource='x'\n[objects.'a']\nsource='y'\n",
        "[objects]\na = {source='x', source='y'}\n",
        "[objects.a]\nsource='x'\nsource='y'\n",
        "[guest]\nmemory_mb=256\n[guest]\nmemory_mb=512\n",
        "a=" + "[" * 5000 + "]" * 5000,
        "a=" + "{b=" * 3000 + "1" + "}" * 3000,
        "[" + "a." * 5000 + "b]\nx=1",
        "a = 1" + "0" * 5000,
        "[guest",
        "[]",
        "= 1",
        "a = '''",
        'a = "\\ud800"',
        "\0",
        b"[guest]\nmemory_mb = \xff\n",
        b"\xfe\xff\0a",
        "\u202e[guest]\n",
    ],
)
def test_broken_toml(text: str | bytes) -> None:
    """A file that is no TOML, or says a thing twice, or is nested without end, is an error of bounded length."""
    said = refused(text)
    assert said.startswith("bpfcompat.toml: ") and len(said) < 600


def test_not_utf8() -> None:
    """The first byte that is not UTF-8 is named."""
    assert refused(b"ab\xff") == "bpfcompat.toml: byte 2: not UTF-8"


PAGE = (REPOSITORY / config.FILE).read_bytes()[:4000]


@given(st.integers(0, len(PAGE)))
def test_truncated(end: int) -> None:
    """The settings page cut anywhere is settings or a ConfigError, never a traceback."""
    with contextlib.suppress(ConfigError):
        parsed(PAGE[:end])


@given(st.lists(st.tuples(st.integers(0, 600), st.sampled_from("[]{}\"'=.,#\n\r\t\0\\u_-+e0\u202e\ud7ff")), max_size=6))
def test_mangled(changes: list[tuple[int, str]]) -> None:
    """A page with signs put in anywhere is settings or a ConfigError, never a traceback."""
    text = PAGE.decode()[-600:]
    for at, sign in changes:
        text = text[:at] + sign + text[at:]
    with contextlib.suppress(ConfigError):
        parsed(text)


def test_no_file(tmp_path: Path) -> None:
    """A project without the file is told which one is missing."""
    with pytest.raises(ConfigError, match=r"bpfcompat.toml: cannot open: No such file"):
        config.load(tmp_path, environ={})


def test_file_is_a_device(tmp_path: Path) -> None:
    """A settings file without an end is not read."""
    (tmp_path / config.FILE).symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="expected a regular file"):
        config.load(tmp_path, environ={})


# --- precedence


def loaded(root: Path, overrides: dict[str, str], environ: dict[str, str], text: str = "") -> Config:
    """A project's settings."""
    (root / config.FILE).write_text(text)
    return config.load(root, overrides, environ)


def test_precedence(tmp_path: Path) -> None:
    """The command line wins over the environment, the environment over the file, the file over the default."""
    text, name, key = "[guest]\nmemory_mb = 300\n", "BPFCOMPAT_GUEST_MEMORY_MB", "guest.memory_mb"
    assert loaded(tmp_path, {}, {}, text)[key] == 300
    assert loaded(tmp_path, {}, {name: "400"}, text)[key] == 400
    assert loaded(tmp_path, {key: "500"}, {name: "400"}, text)[key] == 500


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("guest.memory_mb", "512", 512),
        ("run.workers", "3", 3),
        ("run.workers", "auto", "auto"),
        ("guest.deadline_s", "120.5", 120.5),
        ("guest.deadline_s", "120", 120),
        ("mirror.allow_expired", "TRUE", True),
        ("mirror.allow_expired", "0", False),
        ("matrix.kernels", "a,b", ["a", "b"]),
        ("matrix.kernels", "", []),
        ("build.cc", "a=b", "a=b"),
        ("build.cc", "", ""),
    ],
)
def test_override(key: str, text: str, value: Any) -> None:
    """Text becomes what the setting is."""
    assert config.from_dict({}, ROOT, {key: text})[key] == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("guest.memory_mb", "1.5"), ("guest.memory_mb", "0"), ("guest.memory_mb", ""), ("guest.deadline_s", "nan"),
        ("run.workers", "0"),
        ("mirror.allow_expired", "yes"), ("guest.accelerator", "hvf"), ("build.cc", "a\0b"), ("build.cflags", "a,\0"),
    ],
)  # fmt: skip
def test_wrong_override(key: str, text: str) -> None:
    """An override is checked as the file is, and says what was given."""
    with pytest.raises(ConfigError, match=rf"^{key}="):
        config.from_dict({}, ROOT, {key: text})


@pytest.mark.parametrize(
    ("key", "near"), [("guest.memry_mb", "guest.memory_mb"), ("memory_mb", "guest.memory_mb"), ("zz", "bpfcompat.toml")]
)
def test_unknown_override(key: str, near: str) -> None:
    """An override of nothing names the nearest setting."""
    with pytest.raises(ConfigError, match=f"unknown setting.*{near}"):
        config.from_dict({}, ROOT, {key: "1"})


def test_environment_names() -> None:
    """Each setting has its own variable; a stranger's variable is none of ours."""
    names = [f"BPFCOMPAT_{s}_{k}".upper() for s, k in KEYS]
    assert len(set(names)) == len(names)
    assert config.from_environ(dict.fromkeys(names, "x")).keys() == {f"{s}.{k}" for s, k in KEYS}
    assert config.from_environ({"BPFCOMPAT_X": "1", "PATH": "/", "bpfcompat_guest_memory_mb": "1"}) == {}


def test_workers() -> None:
    """auto is one per core, which is at least one; no workers at all cannot work."""
    assert parsed("").workers >= 1
    assert parsed("[run]\nworkers = 3").workers == 3
    assert "auto (one per core) or a whole number from 1 to 1024, got 0" in refused("[run]\nworkers = 0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deadline_s = 60", "deadline_s: expected more than boot_s (60), got 60: it would be lost while it boots"),
        ("boot_s = 200", "expected more than boot_s (200), got 180"),
        ("boot_s = 5\ndeadline_s = 10\nsilence_s = 11", "expected more than silence_s (11), got 10"),
    ],
)
def test_deadlines(text: str, said: str) -> None:
    """Deadlines that would lose every guest are refused with the reason."""
    assert said in refused(f"[guest]\n{text}")


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is below the project, an absolute one is itself, ~ is the user's home."""
    monkeypatch.setenv("HOME", "/home/me")
    made = parsed("[paths]\nstore = 'a/b'\nregistry = '/abs'\n[signing]\nkey = '~/k'")
    assert [str(made.path(k)) for k in ("paths.store", "paths.registry", "signing.key")] == [
        "/project/a/b", "/abs", "/home/me/k",
    ]  # fmt: skip


def test_no_such_home() -> None:
    """The home of a user who does not exist is a ConfigError, in a setting and in a table."""
    assert "nobody-of-this-name" not in {u.pw_name for u in pwd.getpwall()}
    assert "no such user" in refused("[objects.x]\nsource = '~nobody-of-this-name/x'")
    with pytest.raises(ConfigError, match=r"^paths.store: ~nobody-of-this-name: no such user"):
        parsed("[paths]\nstore = '~nobody-of-this-name'").path("paths.store")


# --- expectations


def test_slugs() -> None:
    """The names of causes that expectations may name are those that verdicts can have."""
    assert set(verdict.SLUGS) == SLUGS


@pytest.mark.parametrize("given", ["5", "['compatible']", "{a = 5}", "{a = ['any']}", "{a = {b = 'any'}}"])
def test_expect_of_wrong_kind(given: str) -> None:
    """expect is a string or a table of strings."""
    assert "expect: expected a string or a table of kernel = string" in refused(
        f"[objects.x]\nsource = 'x'\nexpect = {given}"
    )


# --- tables


def test_object() -> None:
    """A whole object's table."""
    made = parsed(
        "[objects.x]\nsource = 'd/x.c'\ncflags = ['-DA']\nattach = 'load'\nkernels = ['a*']\noptional = true\n"
        "expect = 'compatible'"
    ).objects["x"]
    assert made == ObjectSpec(
        "x", source=ROOT / "d/x.c", cflags=("-DA",), attach=AttachMode.LOAD, kernels=("a*",), optional=True,
        expect={"*": Expectation(Answer.COMPATIBLE)},
    )  # fmt: skip


def test_object_of_package() -> None:
    """An object that a package ships needs the file's name in it."""
    made = parsed("[objects.x]\nmember = 'usr/x.o'\npackage = {suite = 's', package = 'p'}").objects["x"]
    assert (made.package, made.member) == (AptSource("s", "amd64", "p", "main"), "usr/x.o")
    assert "which file of it?" in refused("[objects.x]\npackage = {suite = 's', package = 'p'}")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "expected exactly one of source, prebuilt, package, got none"),
        ("source = 'a'\nprebuilt = 'b'", "got source, prebuilt"),
        ("source = 5", "source: expected a string, got 5"),
        ("source = ''", "source: expected a string, got ''"),
        ('source = "a\\u0000b"', "source: expected a string"),
        ("source = 'a'\nattach = 'maybe'", "attach: expected one of load, attach"),
        ("source = 'a'\nkernels = 'all'", "kernels: expected a list of strings"),
        ("source = 'a'\noptional = 'no'", "optional: expected true or false, or a list of kernel patterns"),
        ("source = 'a'\noptional = []", "optional: expected true or false, or a list of kernel patterns"),
        ("source = 'a'\noptional = [1]", "optional: expected true or false, or a list of kernel patterns"),
        ("package = 'p'\nmember = 'm'", "package: expected a table with suite and package, got 'p'"),
        ("package = {suite = 's'}\nmember = 'm'", "package: package: expected a string, got None"),
    ],
)
def test_wrong_object(table: str, said: str) -> None:
    """An object comes from exactly one place, and its fields are checked."""
    assert said in refused(f"[objects.x]\n{table}")


def test_kernels() -> None:
    """The three places that a kernel comes from."""
    made = parsed(
        "[kernels.a]\napt = {suite = 's', package = 'p*', component = 'c'}\noptional = true\nabout = 'why'\n"
        "[kernels.d]\ndir = 'k'\n"
        f"[kernels.u]\nurl = {{vmlinuz = 'https://h/v', sha256 = '{HEX}'}}\n"
    ).kernels
    assert made["a"].source == AptSource("s", "amd64", "p*", "c") and made["a"].optional
    assert made["d"].source == DirSource(ROOT / "k")
    assert made["u"].source == UrlSource("https://h/v", f"sha256:{HEX}")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "expected exactly one of apt, dir, url, base, got none"),
        ("dir = 'a'\napt = {suite = 's', package = 'p'}", "got apt, dir"),
        ("dir = 'a'\narch = 'vax'", "arch: expected one of amd64, got 'vax'"),
        ("dir = 5", "dir: expected a string"),
        ("url = 'https://h/v'", "url: expected a table with vmlinuz and sha256"),
        ("url = {vmlinuz = 'v'}", "a digest is required beside each address"),
        (f"url = {{vmlinuz = 'v', sha256 = '{HEX}', config = 'c'}}", "a digest is required"),
        (f"url = {{vmlinuz = 'v', sha256 = '{HEX}', config = 5, config_sha256 = '{HEX}'}}", "config: expected a str"),
        (f"url = {{vmlinuz = 'v', sha256 = '{HEX.upper()}'}}", "sha256: expected 64 hex digits"),
        ("url = {vmlinuz = 'v', sha256 = 5}", "sha256: expected 64 hex digits, got '5'"),
        (f"url = {{sha256 = '{HEX}'}}", "vmlinuz: expected a string, got None"),
        ("apt = {suite = 's'}", "apt: package: expected a string, got None"),
    ],
)
def test_wrong_kernel(table: str, said: str) -> None:
    """A kernel comes from exactly one place, and what a URL gives is named by digest."""
    assert said in refused(f"[kernels.k]\n{table}")


BAD_NAMES = ["", "-x", ".x", "a/b", "../x", "a@b", "a:b", "a b", "a*", "a=b", "é", "a\n", "x" * 101, "\u202e", "a\0b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name(name: str) -> None:
    """A name that could not be a file's and a task's name is refused, in the file and in a rule alike."""
    for made in (
        lambda: config.from_dict({"objects": {name: {"source": "x"}}}, ROOT),
        lambda: config.from_dict({"kernels": {name: {"dir": "x"}}}, ROOT),
        lambda: config.object_spec(name, {"source": "x"}, ROOT, "rule"),
        lambda: config.kernel_spec(name, {"dir": "x"}, ROOT, "rule"),
    ):
        with pytest.raises(ConfigError, match="expected a name of letters, digits"):
            made()


# --- look-ups


def test_match_names() -> None:
    """Patterns select in their own order, each name once."""
    assert config.match_names(["b*", "*"], ["a", "b1", "b2"], "kernel", "x") == ("b1", "b2", "a")


@pytest.mark.parametrize(
    ("pattern", "names", "said"),
    [
        ("debian12", ["debian-12", "mine"], "x: no kernel is named 'debian12' (hint: did you mean debian-12?)"),
        ("zz", ["a", "b"], "x: no kernel is named 'zz' (hint: known kernels: a, b)"),
        ("*", [], "x: no kernel is named '*' (hint: known kernels: none)"),
        ("", ["a"], "x: no kernel is named '' (hint: known kernels: a)"),
    ],
)
def test_no_match(pattern: str, names: list[str], said: str) -> None:
    """A pattern that selects nothing is an error with the nearest names."""
    with pytest.raises(ConfigError) as caught:
        config.match_names([pattern], names, "kernel", "x")
    assert str(caught.value) == said


def test_misread() -> None:
    """What the toml package reads otherwise than TOML says is refused, with its place, and not taken as it was read."""
    text = b'[guest]\nqemu = "\\"" # a quote\n'
    assert toml.loads(text.decode())["guest"]["qemu"] == ""
    with pytest.raises(ConfigError, match=r"bpfcompat\.toml: guest: a value that the toml package misreads"):
        config.parse_toml(text, "bpfcompat.toml")
