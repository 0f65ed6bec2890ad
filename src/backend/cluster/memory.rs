//! What outlives the process: the key behind markers and digests in a Secret,
//! the ledger as one `ControllerRevision` per published revision.

use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::{apps::v1::ControllerRevision, core::v1::Secret},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{Config, Event, watch_object},
    },
};
use opamp_operator_api::ProfileKey;
use opamp_operator_core::identity::{KeyRing, LedgerEntry};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{
    FIELD_MANAGER,
    fault::{WatchFault, within},
    lease::Fence,
    patience,
};
use crate::backend::{Memory, Observation, StoreError};

/// The Secret with the keys: hexadecimal, one a line, the first signs.
const KEY_SECRET: &str = "opamp-operator-hash-key";
const KEYS: &str = "keys";
const KEY_WORDS: &str = "Secret opamp-operator-hash-key";
/// Tells ledger entries from the revisions of Deployments.
const LEDGER_LABEL: &str = "opamp-operator.dev/ledger";
const PROFILE_ANNOTATION: &str = "opamp-operator.dev/profile";
/// Entries fetched at a time.
const PAGE: u32 = 500;
/// Why an entry is not stored that this process may not write.
const NOT_OURS: &str = "another process holds the Lease";

/// Why the memory of earlier processes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The API refuses or fails.
    #[error("{what} in namespace {namespace} cannot be used: {problem}")]
    Api {
        /// Of what.
        what: &'static str,
        /// Where.
        namespace: String,
        /// As the API says.
        problem: String,
    },
    /// We may not read the agents of a namespace.
    #[error("OpAMPAgents in namespace {namespace} may not be read: {problem}")]
    Denied {
        /// Where.
        namespace: String,
        /// As the API says.
        problem: String,
    },
    /// The system gives no randomness.
    #[error("the system gives no random numbers for the key")]
    Random,
}

#[derive(Clone)]
pub(super) struct Store {
    namespace: String,
    secrets: Api<Secret>,
    revisions: Api<ControllerRevision>,
}

impl Store {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secrets: Api::namespaced(client.clone(), namespace),
            revisions: Api::namespaced(client, namespace),
        }
    }

    /// The key and the ledger; a new key where there is neither.
    pub(super) async fn load(&self) -> Result<Memory, MemoryError> {
        let ledger = self.ledger().await?;
        let stored = self.keys().await?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| MemoryError::Random)?;
        let fresh = || KeyRing::new(vec![key]).ok_or(MemoryError::Random);
        let (keys, key_lost) = match stored {
            Some(keys) => (keys, None),
            None if ledger.is_empty() => {
                let keys = fresh()?;
                let created = within(self.secrets.create(&manager(), &key_secret(&keys))).await;
                created.map_err(|(_, problem)| self.fault(KEY_WORDS, problem))?;
                (keys, None)
            }
            // With a key of this process alone nobody is recognised, and nothing
            // may be offered: every agent would be offered what it has.
            None => (fresh()?, Some(self.key_lost(ledger.len()))),
        };
        Ok(Memory {
            keys,
            key_lost,
            ledger,
            agents: Vec::new(),
            held: Vec::new(),
        })
    }

    fn key_lost(&self, entries: usize) -> String {
        let namespace = &self.namespace;
        format!(
            "Secret {KEY_SECRET} in namespace {namespace} is missing or unreadable while {entries} revisions are in \
             the ledger; nothing is offered. Restore the Secret from a backup and restart the operator; or let every \
             agent be offered its settings again: `kubectl delete controllerrevisions -n {namespace} \
             -l {LEDGER_LABEL}=true`, `kubectl delete secret -n {namespace} {KEY_SECRET}`, and restart"
        )
    }

    pub(super) async fn ledger(&self) -> Result<Vec<LedgerEntry>, MemoryError> {
        let mut how = ListParams::default()
            .labels(&format!("{LEDGER_LABEL}=true"))
            .limit(PAGE);
        let mut entries = Vec::new();
        loop {
            let page = within(self.revisions.list(&how)).await;
            let page = page.map_err(|(_, problem)| self.fault("ControllerRevisions", problem))?;
            for revision in &page.items {
                // One that cannot be read costs its own agents their recognition,
                // and nobody else anything.
                let Some(entry) = read(revision) else {
                    let name = revision.name_any();
                    tracing::error!(
                        name,
                        "a ledger entry cannot be read: restore the ControllerRevision"
                    );
                    continue;
                };
                entries.push(entry);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => how = how.continue_token(&token),
                None => return Ok(entries),
            }
        }
    }

    /// Tells what is published, by whomever. That an entry is gone is no news:
    /// whoever needs it has it.
    pub(super) async fn follow(self, observations: mpsc::Sender<Observation>) {
        let entries = Config::default().labels(&format!("{LEDGER_LABEL}=true"));
        let mut stream = std::pin::pin!(patience::watch(self.revisions.clone(), entries));
        let mut said = None;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(revision) | Event::InitApply(revision)) => {
                    let Some(entry) = read(&revision) else {
                        continue;
                    };
                    let told = Observation::Ledger(Box::new(entry));
                    if observations.send(told).await.is_err() {
                        return;
                    }
                }
                Ok(Event::InitDone) => said = None,
                Ok(_) => {}
                Err(error) => {
                    let error = WatchFault::from(&error).words;
                    if said.as_ref() != Some(&error) {
                        tracing::error!(
                            error,
                            "ControllerRevisions cannot be watched: what another process publishes is not known. Does \
                             the operator's ServiceAccount have the chart's Role?"
                        );
                        said = Some(error);
                    }
                }
            }
        }
    }

    async fn keys(&self) -> Result<Option<KeyRing>, MemoryError> {
        let found = within(self.secrets.get_opt(KEY_SECRET)).await;
        let found = found.map_err(|(_, problem)| self.fault(KEY_WORDS, problem))?;
        let data = found.and_then(|secret| secret.data?.remove(KEYS));
        Ok(data.and_then(|data| parse_keys(&data.0)))
    }

    /// Makes the key's Secret anew when somebody deletes it: without it no
    /// agent would be recognised after the next start.
    pub(super) async fn keep(self, keys: Option<KeyRing>) {
        let Some(keys) = keys else { return };
        let stream = watch_object(self.secrets.clone(), KEY_SECRET).default_backoff();
        let mut stream = std::pin::pin!(stream);
        while let Some(seen) = stream.next().await {
            if !matches!(seen, Ok(None)) {
                continue;
            }
            match within(self.secrets.create(&manager(), &key_secret(&keys))).await {
                Ok(_) => tracing::warn!("Secret {KEY_SECRET} was deleted and is made anew"),
                Err((_, error)) => {
                    tracing::error!(error, "Secret {KEY_SECRET} is gone and cannot be made anew");
                }
            }
        }
    }

    /// Stores an entry while this process is the one that may.
    pub(super) async fn publish(
        &self,
        fence: &Fence,
        entry: &LedgerEntry,
    ) -> Result<LedgerEntry, StoreError> {
        let stored = fence.within(self.put(entry)).await;
        stored.unwrap_or_else(|| Err(StoreError::Failed(NOT_OURS.into())))
    }

    /// Stores an entry; returns it as it is stored. An answer that was lost on
    /// the way is made good: the same entry may be stored twice.
    async fn put(&self, entry: &LedgerEntry) -> Result<LedgerEntry, StoreError> {
        let unwritable = || StoreError::Failed("the entry cannot be written as JSON".into());
        let revision = write(entry).ok_or_else(unwritable)?;
        let name = revision.name_any();
        match within(self.revisions.create(&manager(), &revision)).await {
            Ok(_) => return Ok(entry.clone()),
            Err((Some(409), _)) => {}
            Err((_, problem)) => return Err(StoreError::Failed(problem)),
        }
        let stored = within(self.revisions.get(&name)).await;
        let stored = stored.map_err(|(_, problem)| StoreError::Failed(problem))?;
        let unreadable =
            || StoreError::Failed(format!("ControllerRevision {name} is not readable"));
        let stored = read(&stored).ok_or_else(unreadable)?;
        if stored.is_same(entry) {
            Ok(stored)
        } else {
            Err(StoreError::Taken(Box::new(stored)))
        }
    }

    /// Deletes entries that nobody needs, in the background.
    pub(super) fn forget(&self, fence: Fence, entries: Vec<LedgerEntry>) {
        let revisions = self.revisions.clone();
        tokio::spawn(async move {
            for entry in entries {
                if !fence.is_open() {
                    // The next holder finds them again.
                    return;
                }
                let name = name(&entry.profile, entry.number);
                let deleted = within(revisions.delete(&name, &DeleteParams::default())).await;
                if let Err((code, problem)) = deleted
                    && code != Some(404)
                {
                    tracing::warn!(name, problem, "an old ledger entry cannot be deleted");
                }
            }
        });
    }

    fn fault(&self, what: &'static str, problem: String) -> MemoryError {
        MemoryError::Api {
            what,
            namespace: self.namespace.clone(),
            problem,
        }
    }
}

fn manager() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

fn parse_keys(text: &[u8]) -> Option<KeyRing> {
    let lines = std::str::from_utf8(text).ok()?.lines();
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| hex::decode(line).ok()?.try_into().ok());
    keys.collect::<Option<Vec<[u8; 32]>>>()
        .and_then(KeyRing::new)
}

fn key_secret(keys: &KeyRing) -> Secret {
    let lines: Vec<_> = keys.raw().map(hex::encode).collect();
    Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some([(KEYS.to_owned(), ByteString(lines.join("\n").into_bytes()))].into()),
        ..Secret::default()
    }
}

/// Of bounded length, whatever the profile's name.
fn name(profile: &ProfileKey, number: u64) -> String {
    let digest = hex::encode(Sha256::digest(profile.to_string()));
    format!("opamp-ledger-{}-{number}", &digest[..16])
}

fn write(entry: &LedgerEntry) -> Option<ControllerRevision> {
    let annotations = [(PROFILE_ANNOTATION.to_owned(), entry.profile.to_string())];
    Some(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name(&entry.profile, entry.number)),
            labels: Some([(LEDGER_LABEL.to_owned(), "true".to_owned())].into()),
            annotations: Some(annotations.into()),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(serde_json::to_value(entry).ok()?)),
        revision: i64::try_from(entry.number).ok()?,
    })
}

fn read(revision: &ControllerRevision) -> Option<LedgerEntry> {
    serde_json::from_value(revision.data.as_ref()?.0.clone()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use opamp_operator_core::identity::Marker;
    use serde_json::{Value, json};

    use super::*;

    /// An API that stores what it is given and may lose its own answers: a
    /// fault that no real one can be brought to show on demand.
    fn api(lost: Arc<Mutex<usize>>) -> Client {
        let stored: Arc<Mutex<Option<Value>>> = Arc::default();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (stored, lost) = (Arc::clone(&stored), Arc::clone(&lost));
            async move {
                let create = request.method() == Method::POST;
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut stored = stored.lock().unwrap();
                let refuse = |code: u16| {
                    let status = json!({"kind": "Status", "code": code, "message": "no", "status": "Failure"});
                    (code, status)
                };
                let (code, answer) = match (create, stored.clone()) {
                    (true, None) => {
                        let object: Value = serde_json::from_slice(&body).unwrap();
                        *stored = Some(object.clone());
                        (201, object)
                    }
                    (true, Some(_)) => refuse(409),
                    (false, Some(object)) => (200, object),
                    (false, None) => refuse(404),
                };
                let mut lost = lost.lock().unwrap();
                let (code, answer) = if *lost > 0 {
                    *lost -= 1;
                    refuse(504)
                } else {
                    (code, answer)
                };
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Response::builder().status(code).body(answer)
            }
        });
        Client::new(service, "ops")
    }

    fn entry(marker: u8, second: i64) -> LedgerEntry {
        LedgerEntry {
            profile: ProfileKey::new("a", "p"),
            number: 1,
            marker: Marker::from_hex(&hex::encode([marker; 32])).unwrap(),
            leaf: None,
            authorization: None,
            not_after: None,
            served_by: opamp_operator_api::v1alpha1::ServedBy::Operator,
            published: jiff::Timestamp::from_second(second).unwrap(),
        }
    }

    #[tokio::test]
    async fn law9_an_answer_that_was_lost_is_made_good() {
        let store = Store::new(api(Arc::new(Mutex::new(1))), "ops");
        let first = store.put(&entry(1, 10)).await;
        assert!(matches!(first, Err(StoreError::Failed(_))), "{first:?}");
        // The same settings again, later: what is stored holds.
        assert_eq!(store.put(&entry(1, 20)).await.unwrap(), entry(1, 10));
        // Other settings need another number.
        match store.put(&entry(2, 30)).await {
            Err(StoreError::Taken(stored)) => assert_eq!(*stored, entry(1, 10)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn law7_keys_are_read_as_they_are_written() {
        let keys = KeyRing::new(vec![[1; 32], [2; 32]]).unwrap();
        let data = key_secret(&keys).data.unwrap().remove(KEYS).unwrap();
        let read = parse_keys(&data.0).unwrap();
        assert_eq!(
            read.raw().collect::<Vec<_>>(),
            keys.raw().collect::<Vec<_>>()
        );
        assert!(parse_keys(b"").is_none() && parse_keys(b"zz").is_none());
    }
}
