"""Names to files: the catalog, the store on disk, and the only user of the network. Knows no engine and no terminal.

Imports nothing heavy: `names`, `catalog` and `index` serve completion and `list`; only `remote` loads the hub's client.
"""
