"""Real objects of Debian: fetched, asked of us and of Debian's own bpftool, compared.  None of it is committed."""
