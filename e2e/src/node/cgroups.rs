//! A control group of a test's own: those of its Pods are made below it, and it
//! goes with the test. They are the only thing that is not in a namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::eventually;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "opamp-e2e-";

/// A control group, in every hierarchy that the machine has.
pub(super) struct Group {
    name: String,
}

impl Group {
    /// Makes one that belongs to this process.
    pub(super) fn make() -> Result<Self> {
        sweep();
        let group = Self {
            name: format!("{PREFIX}{}", std::process::id()),
        };
        for hierarchy in hierarchies()? {
            let folder = hierarchy.join(&group.name);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let offered = fs::read_to_string(hierarchy.join("cgroup.controllers"));
            for controller in offered.unwrap_or_default().split_whitespace() {
                // Version 2: what is not passed on is missing below.
                for folder in [&hierarchy, &folder] {
                    let switch = folder.join("cgroup.subtree_control");
                    let _ = fs::write(switch, format!("+{controller}"));
                }
            }
        }
        Ok(group)
    }

    /// Its path below the root.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let folders = hierarchies().unwrap_or_default();
        let folders: Vec<PathBuf> = folders.iter().map(|it| it.join(&self.name)).collect();
        // The last processes of it may be about to end.
        eventually::blocking(Duration::from_secs(10), || {
            folders.iter().all(|folder| remove(folder))
        });
    }
}

/// Whether one can be made here.
pub(super) fn tried() -> Result<()> {
    Group::make().map(drop)
}

/// The folders under which groups are made: one for each hierarchy of version 1
/// and perhaps one of version 2 beside them, or the only one of version 2.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let entries = fs::read_dir(root).with_context(|| root.display().to_string())?;
    let entries = entries.flatten().map(|entry| entry.path());
    // Links are other names of the same.
    let own = |path: &PathBuf| path.is_dir() && !path.is_symlink();
    let found: Vec<PathBuf> = entries.filter(own).collect();
    anyhow::ensure!(!found.is_empty(), "no control groups below {ROOT}");
    Ok(found)
}

/// Removes what a killed process left behind.
fn sweep() {
    for hierarchy in hierarchies().unwrap_or_default() {
        for entry in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX);
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                remove(&entry.path());
            }
        }
    }
}

/// Removes a group with those below it; false while a process is in one.
fn remove(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(folder).is_ok() || !folder.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_removed_with_those_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        fs::create_dir_all(group.join("a/b")).unwrap();
        assert!(remove(&group));
        assert!(!group.exists());
        assert!(remove(&group), "what is gone is gone");
    }
}
