//! The files that a command names.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::MAX_FILE_BYTES;

/// A file, read or not.
#[derive(Debug)]
pub struct Input {
    /// As it was named.
    pub name: String,
    /// What it holds, or why it could not be read.
    pub text: Result<String, String>,
}

/// Reads files. `-` is standard input; of a directory that is read which
/// `run --manifests` would read.
#[must_use]
pub fn inputs(paths: &[PathBuf], mut stdin: impl Read) -> Vec<Input> {
    let mut found = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            found.push(Input {
                name: "(standard input)".into(),
                text: bounded(&mut stdin),
            });
        } else if path.is_dir() {
            match manifests(path) {
                Ok(files) => found.extend(files.iter().filter(|file| !file.is_dir()).map(file)),
                Err(error) => found.push(Input {
                    name: name(path),
                    text: Err(cannot(&error)),
                }),
            }
        } else {
            found.push(file(path));
        }
    }
    found
}

/// What of a directory is read: by their names, in their order.
///
/// # Errors
/// If it cannot be listed.
pub fn manifests(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_manifest = |e: &OsStr| e == "yaml" || e == "yml" || e == "json";
        if path.extension().is_some_and(is_manifest) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file(path: impl AsRef<Path>) -> Input {
    let path = path.as_ref();
    Input {
        name: name(path),
        text: File::open(path)
            .map_err(|error| cannot(&error))
            .and_then(bounded),
    }
}

fn bounded(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| cannot(&error))?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".into())
}

fn cannot(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

fn name(path: &Path) -> String {
    let name = path.to_string_lossy();
    name.chars().filter(|c| !c.is_control()).collect()
}
