"""Signed verdicts as plain files: layout, publish, serve, client, verify, pages."""
