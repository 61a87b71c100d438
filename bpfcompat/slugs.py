"""The names of all causes, for who must know a name and not what is behind it.

The table itself is `verdict.SLUGS`, which costs a null run too much; tests/unit/test_config.py holds that both agree.
"""

SLUGS = frozenset((
    "attach-busy", "attach-failed", "attach-not-attempted", "attach-not-traceable", "attach-target-missing",
    "attach-type-missing", "attribute-unknown", "behaviour-failed", "behaviour-not-attempted", "btf-rejected",
    "config-disabled", "contradictory", "core-relocation-unresolved", "declaration-unfit", "extern-unresolved",
    "guest-resources", "helper-missing", "helper-not-allowed", "isa-unsupported", "kernel-btf-absent",
    "kernel-config-absent", "kernel-crash", "kernel-hang", "kernel-splat", "kfunc-changed", "kfunc-missing",
    "kfunc-not-allowed", "licence-refused", "loader-exit", "loader-not-started", "loader-out-of-memory",
    "loader-timed-out", "loader-unsupported", "locked-down", "map-create-failed", "map-memlock", "map-type-missing",
    "module-not-loaded", "needs-declaration", "no-variant", "object-malformed", "permission", "prog-type-missing",
    "unknown", "verifier-bounds", "verifier-context", "verifier-loop", "verifier-null", "verifier-reference",
    "verifier-rejected", "verifier-return-code", "verifier-sleepable", "verifier-too-complex", "verifier-type",
    "verifier-uninit", "wrong-byte-order",
))  # fmt: skip
