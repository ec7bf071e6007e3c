//! Files that appear together or not at all.

use sluice_ir::diagnostic::{Code, Diagnostic};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Contents by file name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Writes `files` into `folder`, which is made if it does not exist.
///
/// # Errors
///
/// [`Code::File`]; then no file of the folder has changed.
pub fn write(folder: &Path, files: &Files) -> Result<(), Diagnostic> {
    let existed = folder.exists();
    try_write(folder, files).map_err(|e| {
        if !existed {
            // Only succeeds while the folder is empty, and there is nothing to do if it fails.
            let _ = std::fs::remove_dir(folder);
        }
        Diagnostic::new(Code::File, format!("cannot write to `{}`: {e}", folder.display()))
            .with_help("name a folder that can be made and written")
    })
}

/// Writes a file that does not exist yet.
///
/// # Errors
///
/// [`Code::File`], also if something of that name exists; then nothing has changed.
pub fn create(path: &Path, contents: &[u8]) -> Result<(), Diagnostic> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = NamedTempFile::new_in(folder).and_then(|mut scratch| {
        scratch.write_all(contents)?;
        readable(&scratch)?;
        scratch.persist_noclobber(path).map_err(|e| e.error)
    });
    written.map(drop).map_err(|e| {
        Diagnostic::new(Code::File, format!("cannot write `{}`: {e}", path.display()))
            .with_help("a file that exists is left as it is: choose another name or folder")
    })
}

/// Everything is on disk under another name before the first file gets its own.
fn try_write(folder: &Path, files: &Files) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    for (name, contents) in files {
        let mut scratch = NamedTempFile::new_in(folder)?;
        scratch.write_all(contents)?;
        readable(&scratch)?;
        written.push((scratch, folder.join(name)));
    }
    for (scratch, path) in written {
        scratch.persist(path).map_err(|e| e.error)?;
    }
    Ok(())
}

/// Temporary files are private; results are for everybody.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> io::Result<()> {
    Ok(())
}
