//! holdfast-ari
