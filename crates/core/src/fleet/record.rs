//! What is known of an agent, as a value: for the status, and for whoever
//! comes after a restart. And the only account of a change: [`Transition`].

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use opamp_operator_api::{
    agent::{Evidence, SettingsState, Transport},
    v1alpha1::AttributeScope,
    values::{Attributes, Identity, ProfileKey},
};
use opamp_wire::{AgentCapabilities, InstanceUid};

use super::{Silence, words::name};
use crate::{
    identity::{Bound, Digest, Marker, Recognition},
    offer::Change,
};

/// A revision that an agent is known to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// Whose revision.
    pub profile: ProfileKey,
    /// Its number.
    pub number: u64,
    /// How we know.
    pub evidence: Evidence,
    /// Since when.
    pub at: Timestamp,
}

/// What an agent says of itself that people look for; it decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What it said last that it can do.
    pub capabilities: AgentCapabilities,
    /// `service.name`, cleaned.
    pub service: Option<String>,
    /// `host.name`, cleaned.
    pub host: Option<String>,
    /// Since when its newest link lasts, or lasted.
    pub linked: Option<Timestamp>,
    /// Why it could not use what it was offered last, in words that can do no
    /// harm, and when it said so.
    pub failure: Option<(String, Timestamp)>,
    /// In the same way of what it was sent beside the settings for OpAMP.
    pub cannot_use: Option<(String, Timestamp)>,
}

impl About {
    pub(super) fn describe(&mut self, attributes: &Attributes) {
        let named = |key| attributes.get(key, AttributeScope::Any).and_then(name);
        self.service = named("service.name");
        self.host = named("host.name");
    }
}

/// One agent, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and none excludes another"
)]
pub struct AgentRecord {
    /// Who.
    pub uid: InstanceUid,
    /// Its home.
    pub namespace: String,
    /// The identity that owns the UID.
    pub binding: Option<Identity>,
    /// Since when.
    pub bound_at: Option<Timestamp>,
    /// The Pod that it was proved to run in last.
    pub pod: Option<Bound>,
    /// What it said of itself.
    pub attributes: Option<Attributes>,
    /// The profile that applies.
    pub profile: Option<ProfileKey>,
    /// The profiles that select it too and give way to that, best first.
    pub overridden: Vec<ProfileKey>,
    /// The transport of its newest live link; of a stored record, when it was
    /// written.
    pub connected: Option<Transport>,
    /// How often it polls, as far as it was seen to; not stored.
    pub interval: Duration,
    /// It takes `opamp` settings.
    pub capable: bool,
    /// It shows what lets it receive.
    pub receives: bool,
    /// It is connected by what would not be admitted again; not stored.
    pub cannot_return: bool,
    /// It was offered settings too often, whatever these were (law 5).
    pub exhausted: bool,
    /// Where it is.
    pub state: SettingsState,
    /// What it is known to run.
    pub proved: Option<Proved>,
    /// The last revision that was offered, and when. This is what `Offered`,
    /// `Switching`, `Lost` and `Failed` are about.
    pub last_offer: Option<(Recognition, Timestamp)>,
    /// Everything that was offered under this UID, newest last, bounded.
    pub offered: Vec<Recognition>,
    /// The settings beside `opamp` that it was sent last and that arrived.
    pub told: Option<Digest>,
    /// When `state` last changed.
    pub since: Timestamp,
    /// When it was last heard.
    pub last_contact: Timestamp,
    /// For people.
    pub about: About,
}

/// A change of an agent: log line, metric, dirty mark and record are made from
/// it, and from nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A link was made.
    Connected(Transport),
    /// The last link ended.
    Disconnected,
    /// Another profile applies.
    Profile(Option<ProfileKey>),
    /// This profile had it before, and would have it still but for precedence.
    TakenFrom(ProfileKey),
    /// The profiles that give way, or gave way before, are others.
    Overridden(BTreeSet<ProfileKey>),
    /// It says otherwise than before what it is or can do.
    Described,
    /// It can, or can no longer, take `opamp` settings.
    Capable(bool),
    /// An offer leaves.
    Offered {
        /// Whose revision.
        profile: ProfileKey,
        /// Its number.
        number: u64,
        /// What it will show.
        marker: Marker,
        /// 0, or how often this revision failed before.
        retry: u32,
        /// What the revision was made for.
        change: Option<Change>,
    },
    /// Settings beside those for OpAMP leave.
    Told {
        /// Whose revision.
        profile: ProfileKey,
        /// Its number.
        number: u64,
        /// What they were made for.
        change: Option<Change>,
    },
    /// Those arrived.
    Arrived,
    /// It said that it could not use those; the text is its own, cut and cleaned.
    CannotUse(String),
    /// It is known to run a revision, which was made for this change.
    Proved(Proved, Option<Change>),
    /// It runs the settings that it was offered last, for the first time.
    Taken {
        /// How long ago the change was seen that they were made for; none if
        /// that is not known, or the agent ran no settings of the profile before.
        after: Option<Duration>,
    },
    /// It came back without the settings that it was offered.
    CameWithout,
    /// It came without the settings it had.
    LostSettings,
    /// It left after an offer.
    Switching,
    /// It did not come back in time.
    Lost,
    /// It went to the server of another, as it was told.
    Departed,
    /// It reported a failure; the text is its own, cut and cleaned.
    Failed(String),
    /// Law 5 keeps an offer back, of what was made for this change.
    HeldBack(Silence, Option<Change>),
    /// It would not be admitted again with what it showed.
    CannotReturn,
    /// Another instance uses its instance UID, and is told to take another.
    Cloned,
    /// It needs a primary proof.
    AwaitingProof,
}
