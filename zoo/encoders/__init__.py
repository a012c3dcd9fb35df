"""Item encoders: towers that turn raw content into vectors and per-layer states."""
