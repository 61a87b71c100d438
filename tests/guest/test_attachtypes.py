"""The attach types that the causes have for sections, against libbpf's own table; nothing is booted."""

import pytest

from bpfcompat.asking import Asker
from bpfcompat.causes import ATTACH_TYPES, LOADED_AS, attach_type
from bpfcompat.libbpf import section_type

pytestmark = pytest.mark.guest
NEW = ("uprobe.session", "fsession")  # of libbpf 1.7


@pytest.mark.parametrize("section", sorted({**ATTACH_TYPES, **LOADED_AS}))
def test_as_libbpf_has_it(section: str, asker: Asker) -> None:
    """A section's attach type is the one that libbpf loads it with; of pairs (ingress, egress) the first stands."""
    validator = asker.validator_for("debian-13+libbpf-1.7") if section in NEW else asker.validator()
    library = asker.shop.store.checked(validator.outputs["libbpf.so"])
    names = {"tcx/": "tcx/ingress", "tc/": "tc/ingress", "netkit/": "netkit/primary"}
    found = section_type(library, names.get(section, section + "f" if section.endswith("/") else section))
    assert found is not None and found[1].upper() == attach_type(section)
