//! holdfast-acd
