//! A directory of manifests instead of an API server: the same YAML, followed
//! as the kubelet follows static Pods. For a trial on a laptop, for machines
//! without Kubernetes, and for tests.

mod read;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use opamp_operator_api::{ObjectRef, ProfileKey, v1alpha1::OpAMPConnectionProfileSpec};
use opamp_operator_core::{
    catalog::Stored,
    offer::{Object, Observed, Refusal},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Memory, Observation, Plug, Report, Wanted,
    documents::{self, Pages},
    refuse,
};
use crate::judge::{Judge, is_object_name};

pub use read::{Found, LeftOut};
pub use state::StateError;

/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The backend.
#[derive(Debug)]
pub struct Directory {
    manifests: PathBuf,
    state: state::State,
    namespaces: BTreeSet<String>,
    judge: Arc<Judge>,
    reader: read::Reader,
    profiles: BTreeMap<ProfileKey, Seen>,
    /// None before the first look.
    objects: Option<BTreeMap<ObjectRef, Arc<Object>>>,
    wanted: Wanted,
}

/// What was last told of a profile.
#[derive(Debug)]
struct Seen {
    generation: i64,
    spec: Result<Arc<OpAMPConnectionProfileSpec>, Refusal>,
}

impl Directory {
    /// A backend over two directories; the state directory is made.
    ///
    /// # Errors
    /// If the state directory cannot be made.
    pub fn new(
        manifests: PathBuf,
        state: PathBuf,
        namespaces: BTreeSet<String>,
    ) -> Result<Self, StateError> {
        Ok(Self {
            reader: read::Reader::default(),
            manifests,
            state: state::State::open(state)?,
            namespaces,
            judge: Arc::new(Judge::new()),
            profiles: BTreeMap::new(),
            objects: None,
            wanted: Wanted::new(),
        })
    }

    /// What an earlier process left; a new key where nothing was left.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn load(&self) -> Result<Memory, StateError> {
        self.state.load()
    }

    /// Follows the directory and writes reports until `closing` is cancelled
    /// and all reports are written.
    pub async fn run(mut self, mut plug: Plug, closing: CancellationToken) {
        // Only the Kubernetes API could answer.
        plug.questions.close();
        let pages = Pages::trusting_the_system();
        let documents = plug.documents.clone();
        let documents = documents::follow(documents, plug.observations.clone(), pages);
        let _documents = AbortOnDropHandle::new(tokio::spawn(documents));
        let mut look = tokio::time::interval(LOOK_EVERY);
        // There is nobody else.
        let mut told = VecDeque::from([Observation::Leads(true)]);
        let mut synced = false;
        loop {
            tokio::select! {
                _ = look.tick(), if told.is_empty() && !closing.is_cancelled() => {
                    told.extend(self.look());
                    if !synced && self.reader.has_read() {
                        synced = true;
                        told.extend(self.namespaces.iter().cloned().map(Observation::Listed));
                    }
                }
                // Writing goes on while the other side has no room: it may be
                // waiting for just that.
                Ok(room) = plug.observations.reserve(), if !told.is_empty() => {
                    if let Some(observation) = told.pop_front() {
                        room.send(observation);
                    }
                }
                Ok(()) = plug.wanted.changed() => {
                    let wanted = plug.wanted.borrow_and_update().clone();
                    told.extend(self.want(wanted));
                }
                report = plug.reports.recv() => match report {
                    Some(report) => self.write(report),
                    None => return,
                },
            }
        }
    }

    /// What changed in the directory since the last look.
    fn look(&mut self) -> Vec<Observation> {
        let Some(found) = self.reader.read(&self.manifests) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        let mut profiles = BTreeMap::new();
        for (key, value) in found.profiles {
            // The status goes into a file of this name.
            if !is_object_name(&key.name) {
                let name: String = key.name.chars().take(64).collect();
                tracing::error!(
                    name,
                    "a profile is left out: metadata.name must be lower-case letters, digits, `-` and `.`"
                );
            } else if self.namespaces.contains(&key.namespace) {
                profiles.insert(key, value);
            }
        }
        let gone: Vec<_> = self
            .profiles
            .keys()
            .filter(|key| !profiles.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            self.profiles.remove(&key);
            told.push(Observation::Profile(key, None));
        }
        for (key, value) in profiles {
            let spec = self
                .judge
                .read(value)
                .map(|profile| Arc::new(profile.spec))
                .map_err(|refusals| refuse(&refusals));
            if self
                .profiles
                .get(&key)
                .is_some_and(|seen| seen.spec == spec)
            {
                continue;
            }
            let (generation, status) = match self.profiles.get(&key) {
                Some(seen) => (
                    seen.generation + 1,
                    opamp_operator_api::v1alpha1::OpAMPConnectionProfileStatus::default(),
                ),
                None => self.state.profile(&key, spec.as_ref().ok()),
            };
            let stored = Stored {
                generation,
                uid: None,
                spec: spec.clone(),
                status,
            };
            self.profiles.insert(key.clone(), Seen { generation, spec });
            told.push(Observation::Profile(key, Some(Box::new(stored))));
        }
        let before = self.objects.replace(found.objects);
        for (object, ticket) in &self.wanted {
            let new = self
                .objects
                .as_ref()
                .and_then(|objects| objects.get(object));
            if before
                .as_ref()
                .is_none_or(|before| before.get(object) != new)
            {
                told.push(Observation::Object(object.clone(), *ticket, observed(new)));
            }
        }
        told
    }

    /// Says what is known of what is wanted newly. Before the first look
    /// nothing is known to be absent.
    fn want(&mut self, wanted: Wanted) -> Vec<Observation> {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let Some(objects) = &self.objects else {
            return Vec::new();
        };
        let new = self.wanted.iter();
        new.filter(|(object, ticket)| before.get(object) != Some(ticket))
            .map(|(o, ticket)| Observation::Object(o.clone(), *ticket, observed(objects.get(o))))
            .collect()
    }

    fn write(&mut self, report: Report) {
        match report {
            Report::Profile {
                key,
                generation,
                spec,
                status,
                ..
            } => {
                self.state
                    .write_profile(&key, generation, spec.as_deref(), *status);
            }
            Report::Agent(record) => self.state.write_agent(&record),
            Report::Ledger(entry, stored) => {
                let _ = stored.send(self.state.write_entry(*entry));
            }
            Report::Held(held) => self.state.write_held(&held),
            Report::ForgetAgents(agents) => {
                for (namespace, uid) in agents {
                    self.state.forget_agent(&namespace, uid);
                }
            }
            Report::Forget(entries) => {
                for entry in entries {
                    self.state.forget(&entry);
                }
            }
        }
    }
}

fn observed(object: Option<&Arc<Object>>) -> Observed {
    object.map_or(Observed::Absent, |object| {
        Observed::Present(Arc::clone(object))
    })
}
