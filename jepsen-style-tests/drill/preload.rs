//! What a node is started with: libraries loaded before its program, for its clock and for its writes,
//! and the program itself.

use std::path::{Path, PathBuf};

use super::nemesis::{Needs, clock, rolling, write};
use crate::lab::LabError;
use crate::lab::cluster::{Cluster, NAMES};
use crate::lab::hosts::{command, require};

/// What spoils writes; it must be in C, see there.
const SHIM: &str = include_str!("shim.c");

/// Prepares the starts of all nodes.
pub fn prepare(cluster: &mut Cluster, needs: Needs) -> Result<(), LabError> {
    let folder: PathBuf = cluster.folder().into();
    let shim = match needs.shim {
        true => Some(compile(&folder)?),
        false => None,
    };
    let previous = match needs.previous {
        true => rolling::previous()?,
        false => None,
    };
    for name in NAMES {
        cluster.site_mut(name).process.launch.program = previous.clone();
        let mut environment: Vec<(String, String)> = Vec::new();
        if needs.clock {
            let file = clock::file(&folder, name);
            std::fs::write(&file, "+0").map_err(|source| LabError::Io {
                what: file.display().to_string(),
                source,
            })?;
            environment = clock::environment(&file)?;
        }
        if let Some(shim) = &shim {
            let control = write::control(cluster, name);
            environment.push(("SHIM_CONTROL".into(), control.display().to_string()));
            let segments = folder.join(name).join("log");
            environment.push(("SHIM_PATH".into(), format!("{}/", segments.display())));
            environment.push(("LD_PRELOAD".into(), shim.clone()));
        }
        cluster.site_mut(name).process.launch.environment = joined(environment);
    }
    Ok(())
}

/// Several libraries are one variable.
fn joined(environment: Vec<(String, String)>) -> Vec<(String, String)> {
    let (libraries, mut others): (Vec<_>, Vec<_>) = environment
        .into_iter()
        .partition(|(key, _)| key == "LD_PRELOAD");
    if !libraries.is_empty() {
        let paths: Vec<String> = libraries.into_iter().map(|(_, path)| path).collect();
        others.push(("LD_PRELOAD".into(), paths.join(":")));
    }
    others
}

fn compile(folder: &Path) -> Result<String, LabError> {
    require("cc", "gcc")?;
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    std::fs::write(&source, SHIM).map_err(|error| LabError::Io {
        what: source.display().to_string(),
        source: error,
    })?;
    let (source, library) = (source.display().to_string(), library.display().to_string());
    command(
        "cc",
        &[
            "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", &library, &source, "-ldl",
        ],
    )?;
    Ok(library)
}
