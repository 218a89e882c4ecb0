//! wip
pub mod declared;
pub mod duration;
mod empty_rule;
pub mod settings;
mod task;
#[cfg(test)]
mod tests_declared;
