"""What a dodo.py says: `from bpfcompat.rules import bpf_matrix, bpf_object, kernel`.

    from bpfcompat.rules import bpf_matrix, bpf_object

    probe = bpf_object("probe", source="src/probe.bpf.c", expect={"*": "compatible"})

    def task_bpf():
        yield from bpf_matrix(probe)

Objects and kernels of bpfcompat.toml take part too; a dodo.py may consist of the last two lines alone.
"""

from bpfcompat.rules.declare import bpf_matrix, bpf_object, bpf_publish, kernel

__all__ = ["bpf_matrix", "bpf_object", "bpf_publish", "kernel"]
