"""Both ledgers compared: the feed is followed, differences are found, and repaired where that is safe."""
