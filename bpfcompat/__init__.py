"""bpfcompat: will this compiled eBPF object load and attach on the kernels I care about, and if not, why."""

__version__ = "0.1.0"
