//! The state directory: what must outlive the process, as files that only the
//! operator may read.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use opamp_operator_api::{
    ProfileKey,
    agent::OpAMPAgent,
    v1alpha1::{OpAMPConnectionProfile, OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    fleet::AgentRecord,
    identity::{HeldEntry, KeyRing, LedgerEntry},
};
use opamp_wire::InstanceUid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::backend::{
    Memory, StoreError,
    record::{to_agent, to_record},
};

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or directory cannot be read or written.
    #[error("{path} cannot be used: give the operator a --state directory of its own")]
    Io {
        /// Which.
        path: PathBuf,
        /// From the system.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what we wrote.
    #[error("{0} is not readable: restore it, or remove it")]
    Broken(PathBuf),
    /// The system gives no randomness.
    #[error("the system gives no random numbers for the key")]
    Random,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyFile {
    /// Hexadecimal, 32 bytes each; the first signs, all verify.
    keys: Vec<String>,
}

#[derive(Debug)]
pub(super) struct State(PathBuf);

impl State {
    pub(super) fn open(root: PathBuf) -> Result<Self, StateError> {
        for part in ["profiles", "agents", "ledger"] {
            directory(&root.join(part))?;
        }
        Ok(Self(root))
    }

    pub(super) fn load(&self) -> Result<Memory, StateError> {
        let ledger: Vec<LedgerEntry> = read_all(&self.0.join("ledger"))?;
        let (keys, key_lost) = self.keys(ledger.len())?;
        let agents: Vec<OpAMPAgent> = read_all(&self.0.join("agents"))?;
        Ok(Memory {
            keys,
            key_lost,
            ledger,
            held: self.held(),
            agents: agents.into_iter().filter_map(to_record).collect(),
        })
    }

    /// The stored keys, or new ones; and what to do if the stored ones are lost.
    fn keys(&self, entries: usize) -> Result<(KeyRing, Option<String>), StateError> {
        let path = self.0.join("hash-key.yaml");
        let decode = |key: &String| hex::decode(key).ok()?.try_into().ok();
        let stored = read::<KeyFile>(&path).ok();
        let stored =
            stored.and_then(|file| file.keys.iter().map(decode).collect::<Option<Vec<_>>>());
        if let Some(keys) = stored.and_then(KeyRing::new) {
            return Ok((keys, None));
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| StateError::Random)?;
        let keys = KeyRing::new(vec![key]).ok_or(StateError::Random)?;
        if entries > 0 {
            // With a key of this process alone nobody is recognised, and nothing
            // may be offered: every agent would be offered what it has.
            let lost = format!(
                "{} is missing or unreadable while {entries} revisions are in the ledger; nothing is offered. Restore \
                 the file from a backup and restart the operator; or let every agent be offered its settings again: \
                 remove it and {}, and restart",
                path.display(),
                self.0.join("ledger").display()
            );
            return Ok((keys, Some(lost)));
        }
        let keys_file = KeyFile {
            keys: vec![hex::encode(key)],
        };
        write(&path, &keys_file)?;
        Ok((keys, None))
    }

    /// What authenticators held. A file that cannot be read costs those their
    /// way back who came by what has left, and nobody else anything.
    fn held(&self) -> Vec<HeldEntry> {
        let path = self.held_path();
        if !path.exists() {
            return Vec::new();
        }
        read(&path).unwrap_or_else(|error| {
            tracing::error!(%error, "a file of the state is left out");
            Vec::new()
        })
    }

    pub(super) fn write_held(&self, held: &[HeldEntry]) {
        log(write(&self.held_path(), &held));
    }

    /// Generation and status to begin with: those of the last process, if the
    /// spec is the same.
    pub(super) fn profile(
        &self,
        key: &ProfileKey,
        spec: Option<&Arc<OpAMPConnectionProfileSpec>>,
    ) -> (i64, OpAMPConnectionProfileStatus) {
        let path = self.profile_path(key);
        let Ok(known) = read::<OpAMPConnectionProfile>(&path) else {
            return (1, OpAMPConnectionProfileStatus::default());
        };
        let generation = known.metadata.generation.unwrap_or(1);
        let same = spec.is_some_and(|spec| **spec == known.spec);
        (
            if same { generation } else { generation + 1 },
            known.status.unwrap_or_default(),
        )
    }

    pub(super) fn write_profile(
        &self,
        key: &ProfileKey,
        generation: i64,
        spec: Option<&OpAMPConnectionProfileSpec>,
        status: OpAMPConnectionProfileStatus,
    ) {
        let path = self.profile_path(key);
        // A spec that breaks the rules is not repeated; the last good one is.
        let spec = spec
            .cloned()
            .or_else(|| read::<OpAMPConnectionProfile>(&path).ok().map(|p| p.spec));
        let value = match spec {
            Some(spec) => {
                let mut profile = OpAMPConnectionProfile::new(&key.name, spec);
                profile.metadata.namespace = Some(key.namespace.clone());
                profile.metadata.generation = Some(generation);
                profile.status = Some(status);
                serde_json::to_value(profile)
            }
            None => Ok(serde_json::json!({
                "apiVersion": opamp_operator_api::API_VERSION,
                "kind": "OpAMPConnectionProfile",
                "metadata": {"name": key.name, "namespace": key.namespace, "generation": generation},
                "status": status,
            })),
        };
        log(value
            .map_err(|_| StateError::Broken(path.clone()))
            .and_then(|value| write(&path, &value)));
    }

    pub(super) fn write_agent(&self, record: &AgentRecord) {
        let Some(agent) = to_agent(record) else {
            return;
        };
        log(write(
            &self.agent_path(&record.namespace, record.uid),
            &agent,
        ));
    }

    pub(super) fn forget_agent(&self, namespace: &str, uid: InstanceUid) {
        let path = self.agent_path(namespace, uid);
        log(fs::remove_file(&path).map_err(|source| StateError::Io { path, source }));
    }

    /// Stores an entry; one that is there stays as it is.
    pub(super) fn write_entry(&self, entry: LedgerEntry) -> Result<LedgerEntry, StoreError> {
        let path = self.entry_path(&entry);
        if path.exists() {
            let failed = |error: StateError| StoreError::Failed(error.to_string());
            let stored: LedgerEntry = read(&path).map_err(failed)?;
            return if stored.is_same(&entry) {
                Ok(stored)
            } else {
                Err(StoreError::Taken(Box::new(stored)))
            };
        }
        let written = write(&path, &entry);
        written.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(entry)
    }

    pub(super) fn forget(&self, entry: &LedgerEntry) {
        let path = self.entry_path(entry);
        log(fs::remove_file(&path).map_err(|source| StateError::Io { path, source }));
    }

    fn held_path(&self) -> PathBuf {
        self.0.join("held.yaml")
    }

    fn profile_path(&self, key: &ProfileKey) -> PathBuf {
        self.0
            .join("profiles")
            .join(&key.namespace)
            .join(format!("{}.yaml", key.name))
    }

    fn agent_path(&self, namespace: &str, uid: InstanceUid) -> PathBuf {
        let directory = self.0.join("agents").join(namespace);
        directory.join(format!("{uid}.yaml"))
    }

    fn entry_path(&self, entry: &LedgerEntry) -> PathBuf {
        let name = format!(
            "{}.{}.{}.yaml",
            entry.profile.namespace, entry.profile.name, entry.number
        );
        self.0.join("ledger").join(name)
    }
}

fn log(result: Result<(), StateError>) {
    if let Err(error) = result {
        let source = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(%error, source, "state was not written");
    }
}

fn directory(path: &Path) -> Result<(), StateError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| StateError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Whole or not at all: a temporary file, synced and renamed.
fn write(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let io = |source| StateError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    let text = serde_saphyr::to_string(value).map_err(|_| StateError::Broken(path.to_owned()))?;
    let temporary = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, path).map_err(io)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    let text = fs::read_to_string(path).map_err(|source| StateError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|_| StateError::Broken(path.to_owned()))
}

/// All files of a directory and the directories in it.
fn read_all<T: DeserializeOwned>(root: &Path) -> Result<Vec<T>, StateError> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root).map_err(|source| StateError::Io {
        path: root.to_owned(),
        source,
    })?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(read_all(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            // One that cannot be read hides none of the others.
            match read(&path) {
                Ok(value) => found.push(value),
                Err(error) => tracing::error!(%error, "a file of the state is left out"),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use opamp_operator_core::identity::{Fingerprint, Held, Marker};

    use super::*;

    #[test]
    fn law8_a_ledger_entry_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path().to_owned()).unwrap();
        let entry = |marker: u8, second| LedgerEntry {
            profile: ProfileKey::new("a", "p"),
            number: 1,
            marker: Marker::from_hex(&hex::encode([marker; 32])).unwrap(),
            leaf: None,
            authorization: None,
            not_after: None,
            served_by: opamp_operator_api::v1alpha1::ServedBy::Operator,
            published: jiff::Timestamp::from_second(second).unwrap(),
        };
        assert_eq!(state.write_entry(entry(1, 10)).unwrap(), entry(1, 10));
        assert_eq!(state.write_entry(entry(1, 20)).unwrap(), entry(1, 10));
        match state.write_entry(entry(2, 30)) {
            Err(StoreError::Taken(stored)) => assert_eq!(*stored, entry(1, 10)),
            other => panic!("{other:?}"),
        }
        assert_eq!(state.load().unwrap().ledger, [entry(1, 10)]);
    }

    #[test]
    fn law8_what_authenticators_held_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path().to_owned()).unwrap();
        assert_eq!(state.load().unwrap().held, [], "nothing was stored");
        let keys = KeyRing::new(vec![[1; 32]]).unwrap();
        let token = Fingerprint::of_authorization(b"Bearer 0123456789abcdef");
        let entry = |held, left: Option<i64>| HeldEntry {
            authenticator: "fleet: \"a\"".into(),
            held,
            left: left.map(|left| jiff::Timestamp::from_second(left).unwrap()),
        };
        let held = [
            entry(Held::Token(token.keyed_authorization(&keys)), None),
            entry(Held::Authority("00ff".into()), Some(7)),
        ];
        state.write_held(&held);
        assert_eq!(state.load().unwrap().held, held);
        // One that somebody broke is left out, and keeps nobody from starting.
        fs::write(state.held_path(), "- {").unwrap();
        assert_eq!(state.load().unwrap().held, []);
    }
}
