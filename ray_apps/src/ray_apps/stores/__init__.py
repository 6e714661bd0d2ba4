"""Where bytes live, and the two hand-over points: snapshots and versions."""
