"""CMAG measured: the tables of docs/cmag.md, patches on signs, and the training of the bundled reconstructors."""
