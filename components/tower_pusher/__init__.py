"""TowerPusher: one release of both towers and the index."""
