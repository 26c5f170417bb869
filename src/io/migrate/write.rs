//! What `--write DIR` writes: corrected copies, at their own paths below the folder, and what the service needs.

use crate::passwd::shell_quoted;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Lets the service of the Debian package stand in Mosquitto's place.
const SERVICE: &str = include_str!("mosquitto.conf");

/// Writes all of it and returns the paths. Copies are for their owner alone: there may be passwords of bridges in them.
///
/// Errors: one of the files is there already, so that nothing was written; or the system refuses. One sentence.
pub(super) fn write(
    folder: &Path,
    config: &Path,
    copies: &[(PathBuf, Vec<u8>)],
) -> Result<Vec<PathBuf>, String> {
    let mut files: Vec<(PathBuf, Vec<u8>, u32)> = Vec::new();
    for (path, bytes) in copies {
        files.push((below(folder, path), bytes.clone(), 0o600));
    }
    let options = format!("MQTTFAST_OPTIONS=\"-c {}\"\n", shell_quoted(config));
    let etc = folder.join("etc");
    files.push((etc.join("mqttfast/options"), options.into(), 0o644));
    let service = etc.join("systemd/system/mqttfast.service.d/mosquitto.conf");
    files.push((service, SERVICE.into(), 0o644));
    if let Some((path, ..)) = files
        .iter()
        .find(|(path, ..)| path.symlink_metadata().is_ok())
    {
        return Err(format!(
            "{} is there already, and nothing is written over what is there: give another folder with --write",
            path.display()
        ));
    }
    for (path, bytes, mode) in &files {
        let refused = |error: std::io::Error| format!("{}: {error}", path.display());
        if let Some(parent) = path.parent() {
            let mut builder = DirBuilder::new();
            let builder = builder.recursive(true).mode(0o755);
            builder.create(parent).map_err(refused)?;
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(*mode);
        let mut file = options.open(path).map_err(refused)?;
        file.write_all(bytes).map_err(refused)?;
    }
    Ok(files.into_iter().map(|(path, ..)| path).collect())
}

/// The path of a file in the folder: its own, never one that leads out of it.
fn below(folder: &Path, path: &Path) -> PathBuf {
    let mut below = folder.to_path_buf();
    for component in path.components() {
        if let Component::Normal(name) = component {
            below.push(name);
        }
    }
    below
}
