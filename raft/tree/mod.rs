//! The journal's seam: an ordered map of bytes that one batch changes atomically.
//!
//! The real one is sled. A simulation has no threads, and sled has some, so there a map in memory
//! takes its place (`crate::sim`).

pub mod sled_tree;

use crate::JournalError;

/// One change of a batch: the key, and its value or (`None`) that it goes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Sees one key and value of a scan; says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, JournalError>;

/// An ordered map that is kept on disk, though durably only at a checkpoint.
pub trait Tree: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError>;
    /// The last key at or before this one, and its value.
    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, JournalError>;
    /// Shows the keys from `from` to before `to`, in order, until `visit` says no.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), JournalError>;
    /// Changes all of these or none.
    fn apply(&self, changes: Vec<Change>) -> Result<(), JournalError>;
    /// Removes everything.
    fn clear(&self) -> Result<(), JournalError>;
    /// Makes everything durable.
    fn checkpoint(&self) -> Result<(), JournalError>;
    /// Has the next opening put this tree aside, because something is missing in it.
    fn mark_broken(&self) -> std::io::Result<()>;
}
