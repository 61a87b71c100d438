"""What `bpfcompat inspect` needs of a project: its objects, and where all that is known of its kernels lies."""

from pathlib import Path
from typing import Any

from bpfcompat.errors import ConfigError, did_you_mean
from bpfcompat.foreseeing import facts
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import sessions_of

HINT = "name a file, or an object of bpfcompat.toml"
_KERNELS = Path(__file__).resolve().parent.parent / "kernels"


class Opened:
    """The project in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.session = sessions_of(root)[0]

    def kernels(self) -> dict[str, dict[str, Any]]:
        """Of each kernel where its parts lie; `default`: it is asked without being named."""
        session = self.session
        asked = {pair.kernel for pair in session.matrix.pairs}
        plain = {k for k, spec in session.matrix.kernels.items() if not spec.base and not spec.libbpf}
        return {k: {**facts(session.asker, k), "default": k in asked & plain} for k in session.matrix.kernels}

    def folders(self) -> list[str]:
        """The catalogues that its kernels come from."""
        return [str(_KERNELS), *(str(self.root / c) for c in self.session.config["paths.catalogue"])]

    def object(self, name: str) -> tuple[bytes, bool, str]:
        """An object of the project, from the store."""
        session = self.session
        spec = session.matrix.objects.get(name)
        if spec is None:
            raise ConfigError(
                f"{name}: no such file, and no object of this project",
                hint=did_you_mean(name, session.matrix.objects, HINT),
            )
        try:
            blob = session.asker.object(name, make=False)
        except NotThere as error:
            raise ConfigError(f"{name}: waits for {error.label}", hint=f"doit object:{name}") from None
        why_not = "its own loader is asked, and nobody knows what that one does" if spec.command else ""
        return session.asker.shop.store.read(blob), bool(spec.declared), why_not
