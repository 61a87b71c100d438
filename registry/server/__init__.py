"""The read-only HTTP endpoint of a registry: request, answer, files, connection, listener, tls, access, counts, admin.

Standard library only, and nothing of ours that needs more.
"""
