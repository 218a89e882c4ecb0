//! A bit that flips at rest, in a log segment of a node that does not run.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rand::Rng;

use super::write::refuses_and_is_replaced;
use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::LabError;

/// A node is killed, a bit of its log flips, and it starts again: it must refuse.
pub fn bit(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("SIGKILL to {name}, and a bit of its log flips"));
        arena.kill(name).await;
        let file = longest_segment(arena, name).await?;
        flip(arena, &file).map_err(|source| LabError::Io {
            what: file.display().to_string(),
            source,
        })?;
        Ok(Healing::by(move |arena| {
            Box::pin(refuses_and_is_replaced(arena, name))
        }))
    })
}

async fn longest_segment(arena: &Arena, name: &str) -> Result<PathBuf, LabError> {
    let cluster = arena.cluster.read().await;
    let folder = cluster.folder().join(name).join("log");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "log"));
    let longest = segments.max_by_key(|entry| entry.metadata().map_or(0, |data| data.len()));
    longest
        .map(|entry| entry.path())
        .ok_or_else(|| LabError::Refused(format!("no segment of a log in {}", folder.display())))
}

/// In the first half, so that it is damage with good records behind it and no torn tail.
fn flip(arena: &mut Arena, file: &PathBuf) -> std::io::Result<()> {
    let bytes = std::fs::read(file)?;
    // Behind the last block there is room of zeros, in which nothing can be damaged.
    let data = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let at = arena.rng.random_range(20..(data / 2).max(21));
    let byte = bytes[at] ^ (1 << arena.rng.random_range(0..8));
    let file = std::fs::File::options().write(true).open(file)?;
    file.write_all_at(&[byte], at as u64)?;
    file.sync_all()
}
