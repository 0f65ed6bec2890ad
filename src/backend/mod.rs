//! The two ends of the pipe: observations in, reports out. `cluster` speaks to
//! the Kubernetes API, `directory` reads YAML files; everything between is the
//! same for both.

pub mod cluster;
pub mod directory;
mod record;

use std::{collections::BTreeMap, sync::Arc};

use opamp_operator_api::{
    ConditionType, ObjectRef, ProfileKey, Reason,
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    catalog::Stored,
    fleet::AgentRecord,
    identity::{KeyRing, LedgerEntry},
    offer::{Observed, Refusal},
    status::ProfileEvent,
};
use opamp_wire::InstanceUid;
use tokio::sync::{mpsc, oneshot, watch};

/// Which time an object is wanted: what is wanted anew must be told anew.
pub type Ticket = u64;

/// The objects to watch.
pub type Wanted = BTreeMap<ObjectRef, Ticket>;

/// What a backend saw.
#[derive(Debug)]
pub enum Observation {
    /// A profile appeared, changed or (`None`) went away.
    Profile(ProfileKey, Option<Box<Stored>>),
    /// A wanted object appeared, changed or went away. The ticket is that under
    /// which it was wanted.
    Object(ObjectRef, Ticket, Observed),
    /// All profiles of a namespace have been told once.
    Listed(String),
    /// The profiles of a namespace may not be read, for the time being.
    Unlistable(String),
}

/// What a backend is to write.
#[derive(Debug)]
pub enum Report {
    /// The status of a profile.
    Profile {
        /// Whose.
        key: ProfileKey,
        /// `metadata.uid`, where there is one.
        uid: Option<String>,
        /// `metadata.generation`.
        generation: i64,
        /// None if it breaks the CRD's rules.
        spec: Option<Arc<OpAMPConnectionProfileSpec>>,
        /// The newest.
        status: Box<OpAMPConnectionProfileStatus>,
        /// What happened since the one before.
        events: Vec<ProfileEvent>,
    },
    /// What is known of an agent.
    Agent(Box<AgentRecord>),
    /// A ledger entry; answered when it is stored, since nothing is published
    /// before.
    Ledger(
        Box<LedgerEntry>,
        oneshot::Sender<Result<LedgerEntry, StoreError>>,
    ),
    /// Ledger entries that nobody needs any more.
    Forget(Vec<LedgerEntry>),
    /// Agents that nobody has heard of for long: home namespace and UID.
    ForgetAgents(Vec<(String, InstanceUid)>),
}

/// Why a ledger entry is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its number is taken by other settings.
    #[error("revision {} is taken", .0.number)]
    Taken(Box<LedgerEntry>),
    /// It cannot be written; perhaps it was.
    #[error("{0}")]
    Failed(String),
}

/// What an earlier process left.
#[derive(Debug)]
pub struct Memory {
    /// The key of markers and digests.
    pub keys: KeyRing,
    /// The key was lost: nothing may be offered. The text says what to do.
    pub key_lost: Option<String>,
    /// What was published.
    pub ledger: Vec<LedgerEntry>,
    /// Who was seen.
    pub agents: Vec<AgentRecord>,
}

/// The controller's end of the pipe.
#[derive(Debug)]
pub struct Port {
    /// What the backend sees.
    pub observations: mpsc::Receiver<Observation>,
    /// What it should watch.
    pub wanted: watch::Sender<Wanted>,
    /// What it should write.
    pub reports: mpsc::Sender<Report>,
}

/// The backend's end of the pipe.
#[derive(Debug)]
pub struct Plug {
    /// To the controller.
    pub observations: mpsc::Sender<Observation>,
    /// From the controller.
    pub wanted: watch::Receiver<Wanted>,
    /// From the controller.
    pub reports: mpsc::Receiver<Report>,
}

/// What the CRD's rules refuse, as a condition says it.
fn refuse(refusals: &[crate::judge::Refusal]) -> Refusal {
    let message: Vec<_> = refusals.iter().take(5).map(ToString::to_string).collect();
    Refusal {
        condition: ConditionType::Accepted,
        reason: Reason::InvalidSpec,
        message: message.join("; "),
    }
}

/// Enough for a burst; beyond that the faster side waits.
const QUEUE: usize = 1024;

/// A pipe.
#[must_use]
pub fn pipe() -> (Port, Plug) {
    let (observed, observations) = mpsc::channel(QUEUE);
    let (wanted, wants) = watch::channel(Wanted::new());
    let (reports, reported) = mpsc::channel(QUEUE);
    (
        Port {
            observations,
            wanted,
            reports,
        },
        Plug {
            observations: observed,
            wanted: wants,
            reports: reported,
        },
    )
}
