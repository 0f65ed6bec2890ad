//! The two ends of the pipe: observations in, reports out. `cluster` speaks to
//! the Kubernetes API, `directory` reads YAML files; everything between is the
//! same for both.

pub mod cluster;
pub mod directory;
pub mod documents;
mod queues;
mod record;

pub use queues::Queues;
pub use record::{to_agent, to_record};

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use opamp_operator_api::{
    ConditionType, ObjectRef, ProfileKey, Reason,
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    catalog::{KeySource, Stored},
    fleet::AgentRecord,
    identity::{HeldEntry, KeyRing, LedgerEntry, ServiceAccount, Vouched},
    offer::{Observed, Refusal},
    status::ProfileEvent,
};
use opamp_wire::InstanceUid;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Which time an object is wanted: what is wanted anew must be told anew.
pub type Ticket = u64;

/// The objects to watch.
pub type Wanted = BTreeMap<ObjectRef, Ticket>;

/// Where agents may be at home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes {
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// Agents there may be ServiceAccounts, so that it matters which exist.
    pub service_accounts: bool,
}

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
    /// What a wanted document holds, or why it cannot be had.
    Document(KeySource, Result<Vec<u8>, String>),
    /// The ServiceAccounts of a namespace in which some are agents: name and
    /// `metadata.uid`. None while that may not be read.
    ServiceAccounts(String, Option<BTreeMap<String, String>>),
    /// A Pod of such a namespace was deleted; its `metadata.uid`.
    PodGone(String),
    /// The `metadata.uid`s of all Pods of such a namespace, whenever they were
    /// listed: who went while nobody looked is not among them.
    Pods(String, HashSet<String>),
    /// A status that another process wrote, or an echo of our own.
    Status(ProfileKey, Box<OpAMPConnectionProfileStatus>),
    /// What another process published, or an echo of our own.
    Ledger(Box<LedgerEntry>),
    /// What is stored of an agent, told before [`Observation::Leads`].
    Agent(Box<AgentRecord>),
    /// Whether this process is the one that writes what only one may.
    Leads(bool),
}

/// A question that only the Kubernetes API can answer.
#[derive(Debug)]
pub enum Question {
    /// Whose is this token, for this audience and no other, and may it connect?
    Token {
        /// The audience.
        audience: String,
        /// The token.
        token: SecretString,
        /// To whoever asks.
        answer: oneshot::Sender<Judged>,
    },
    /// Does what was vouched for still stand: does the ServiceAccount exist, the
    /// Pod too, and may it connect? The token may have ended meanwhile.
    Standing {
        /// What was vouched for.
        vouched: Arc<Vouched>,
        /// To whoever asks.
        answer: oneshot::Sender<Standing>,
    },
}

/// What the Kubernetes API says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is this one's, who may connect.
    Vouched(Box<ServiceAccount>),
    /// It proves nobody, or somebody who may not connect; why, for the log.
    Denied(String),
    /// Nobody could say; why, for the log.
    Unknown(String),
}

/// What the Kubernetes API says of somebody it vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As before.
    Stands,
    /// Not any more; why, for the log.
    Gone(String),
    /// Nobody could say; why, for the log.
    Unknown(String),
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
    /// What authenticators hold and held: all of it.
    Held(Vec<HeldEntry>),
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
    /// What authenticators held.
    pub held: Vec<HeldEntry>,
}

/// The controller's end of the pipe.
#[derive(Debug)]
pub struct Port {
    /// What the backend sees.
    pub observations: mpsc::Receiver<Observation>,
    /// What it should watch.
    pub wanted: watch::Sender<Wanted>,
    /// What else it should read.
    pub documents: watch::Sender<BTreeSet<KeySource>>,
    /// What only it can answer.
    pub questions: mpsc::Sender<Question>,
    /// What it should write.
    pub reports: mpsc::Sender<Report>,
    /// What waits in between.
    pub queues: Queues,
}

/// The backend's end of the pipe.
#[derive(Debug)]
pub struct Plug {
    /// To the controller.
    pub observations: mpsc::Sender<Observation>,
    /// From the controller.
    pub wanted: watch::Receiver<Wanted>,
    /// From the controller.
    pub documents: watch::Receiver<BTreeSet<KeySource>>,
    /// From the server.
    pub questions: mpsc::Receiver<Question>,
    /// From the controller.
    pub reports: mpsc::Receiver<Report>,
    /// What waits in between.
    pub queues: Queues,
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

/// The innermost cause: of a connection, what the system says.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// When a task last showed that it gets on.
#[derive(Debug)]
pub struct Pulse(Mutex<Instant>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pulse {
    /// It gets on.
    pub fn beat(&self) {
        *self.0.lock() = Instant::now();
    }

    /// How long ago that was.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// Enough for a burst; beyond that the faster side waits.
const QUEUE: usize = 1024;

/// A pipe.
#[must_use]
pub fn pipe() -> (Port, Plug) {
    let (observed, observations) = mpsc::channel(QUEUE);
    let (wanted, wants) = watch::channel(Wanted::new());
    let (documents, read) = watch::channel(BTreeSet::new());
    let (questions, asked) = mpsc::channel(QUEUE);
    let (reports, reported) = mpsc::channel(QUEUE);
    let queues = Queues::default();
    queues.channel("observations", &observed);
    queues.channel("questions", &questions);
    queues.channel("reports", &reports);
    (
        Port {
            observations,
            wanted,
            documents,
            questions,
            reports,
            queues: queues.clone(),
        },
        Plug {
            observations: observed,
            wanted: wants,
            documents: read,
            questions: asked,
            reports: reported,
            queues,
        },
    )
}
