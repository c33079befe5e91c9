"""From model names to files: the catalog, the model store on disk, and downloads.

The only room that uses the network. `names`, `catalog` and `index` import nothing heavy, since completion and `list`
use them; only `remote` imports huggingface_hub.
"""
