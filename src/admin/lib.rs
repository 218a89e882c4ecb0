//! holdfast-admin
