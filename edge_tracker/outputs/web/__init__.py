"""The page: the live picture, and choosing targets on it. `page` needs aiohttp, `address` does not."""
