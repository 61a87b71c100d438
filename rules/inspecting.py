"""What `bpfcompat inspect` needs of a project: its objects, and where all that is known of its kernels lies."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpfcompat.errors import ConfigError, did_you_mean
from bpfcompat.foreseeing import facts
from bpfcompat.model import ObjectSpec
from bpfcompat.objects import sources_of
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

    def object(self, name: str) -> dict[str, Any]:
        """Where an object of the project lies in the store, and what its bytes hang on beside the lock."""
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
        store = session.asker.shop.store
        store.read(blob)  # a damaged one is dropped, and said
        why_not = "its own loader is asked, and nobody knows what that one does" if spec.command else ""
        return {"path": str(store.blob_path(blob.digest)), "declared": bool(spec.declared), "why_not": why_not,
                "files": [str(p) for p in self._files(spec)]}  # fmt: skip

    def _files(self, spec: ObjectSpec) -> Iterator[Path]:
        """The files of an object, the folders in which another one would be found first, and the compiler."""
        config = self.session.config
        if spec.prebuilt is not None:
            yield spec.prebuilt
        if spec.source is not None:
            found = sources_of(spec, config).values()
            yield from dict.fromkeys((*found, *(path.parent for path in found)))
            yield Path(shutil.which(config["build.clang"]) or config["build.clang"])
