"""From model names to files: the catalog, the model store on disk, and downloads.

The only room that uses the network. `names`, `catalog` and `index` import nothing heavy, since completion and `list`
use them. Every request is made by `transport`; of huggingface_hub only its default URL and its lock are used.
"""
