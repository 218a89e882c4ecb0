//! holdfast-raft
