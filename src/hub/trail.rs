//! What happens of a change, step by step, for somebody who follows it. Nobody
//! waits for who follows: what does not fit into the queue is left out and
//! counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use opamp_operator_api::{ProfileKey, Reason, v1alpha1::RevisionCause};
use opamp_operator_core::{
    fleet::{Agent, Evidence, Transition},
    offer::Change,
};
use opamp_wire::InstanceUid;
use tokio::sync::mpsc;

/// Steps that wait.
const QUEUE: usize = 4096;

/// Something that happened of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of which.
    pub change: Change,
    /// To which profile, or to agents by it.
    pub profile: ProfileKey,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// See [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Settings were made of it; the work began then.
    Resolved(Timestamp),
    /// What it would make does not come into force.
    Refused(Reason),
    /// The ledger has an entry for it, of which the writing began then.
    Stored(Timestamp),
    /// A revision is in force.
    InForce {
        /// Its number.
        number: u64,
        /// Its marker, short.
        marker: String,
        /// What made it.
        cause: RevisionCause,
    },
    /// Whether agents are on their way to it, and what the status says of that.
    Progress(bool, String),
    /// It was offered.
    Offered {
        /// To whom.
        agent: InstanceUid,
        /// The number of the revision.
        number: u64,
        /// Its marker, short.
        marker: String,
        /// How often it failed before.
        retry: u32,
    },
    /// An agent left after an offer.
    Left(InstanceUid),
    /// An agent runs it.
    Proved(InstanceUid, Evidence),
    /// An agent came back without it.
    CameWithout(InstanceUid),
    /// An agent could not use it.
    Failed(InstanceUid),
    /// An agent did not come back.
    Lost(InstanceUid),
    /// An agent went to the server of another, as it was told.
    Departed(InstanceUid),
}

/// Where steps are told; to nobody, if nobody follows.
#[derive(Clone, Debug, Default)]
pub struct Trail(Option<Told>);

#[derive(Clone, Debug)]
struct Told {
    steps: mpsc::Sender<Step>,
    left_out: Arc<AtomicU64>,
}

/// Who follows.
#[derive(Debug)]
pub struct Follower {
    /// In the order in which they were told.
    pub steps: mpsc::Receiver<Step>,
    /// How many were not.
    pub left_out: Arc<AtomicU64>,
}

impl Trail {
    /// A trail, and who follows it.
    #[must_use]
    pub fn followed() -> (Self, Follower) {
        let (sender, steps) = mpsc::channel(QUEUE);
        let left_out = Arc::<AtomicU64>::default();
        let told = Told {
            steps: sender,
            left_out: Arc::clone(&left_out),
        };
        (Self(Some(told)), Follower { steps, left_out })
    }

    /// Tells a step that is made now, if somebody follows and the change is known.
    pub fn tell(&self, change: Option<Change>, profile: &ProfileKey, what: impl FnOnce() -> What) {
        let Some((told, change)) = self.0.as_ref().zip(change) else {
            return;
        };
        let step = Step {
            change,
            profile: profile.clone(),
            at: Timestamp::now(),
            what: what(),
        };
        if told.steps.try_send(step).is_err() {
            told.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells what a change of an agent is to the change of its settings.
    pub(super) fn tell_transition(&self, agent: &Agent, transition: &Transition) {
        if self.0.is_none() {
            return;
        }
        let uid = agent.uid();
        let of_offer = |what: What| {
            if let Some(profile) = agent.profile() {
                self.tell(agent.change(), profile, || what);
            }
        };
        match transition {
            Transition::Offered {
                profile,
                number,
                marker,
                retry,
                change,
            } => self.tell(*change, profile, || What::Offered {
                agent: uid,
                number: *number,
                marker: marker.short(),
                retry: *retry,
            }),
            Transition::Proved(proved, change) => self.tell(*change, &proved.profile, || {
                What::Proved(uid, proved.evidence)
            }),
            Transition::Switching => of_offer(What::Left(uid)),
            Transition::CameWithout => of_offer(What::CameWithout(uid)),
            Transition::Failed(_) => of_offer(What::Failed(uid)),
            Transition::Lost => of_offer(What::Lost(uid)),
            Transition::Departed => of_offer(What::Departed(uid)),
            _ => {}
        }
    }
}
