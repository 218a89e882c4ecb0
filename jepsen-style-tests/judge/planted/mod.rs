//! The judge is tested like what it judges: it must accept the histories of a small system that works,
//! and must find each bug that is planted into them, by exactly the property meant for it.

mod bugs;
mod bugs_seen;
mod bugs_told;
mod people;
mod tests;
mod world;
