"""Files on disk that appear whole or not at all. Knows no format."""
