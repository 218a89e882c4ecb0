//! holdfast-drills
