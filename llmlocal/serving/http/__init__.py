"""HTTP itself: the server's life, checks of requests, strict reading of JSON, streams, errors."""
