//! What is known of an agent, as a value: for the status, and for whoever
//! comes after a restart. And the only account of a change: [`Transition`].

use std::time::Duration;

use jiff::Timestamp;
use opamp_operator_api::{
    agent::{Evidence, SettingsState, Transport},
    values::{Attributes, Identity, ProfileKey},
};
use opamp_wire::InstanceUid;

use super::Silence;
use crate::identity::{Marker, Recognition};

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

/// One agent, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// Who.
    pub uid: InstanceUid,
    /// Its home.
    pub namespace: String,
    /// The identity that owns the UID.
    pub binding: Option<Identity>,
    /// What it said of itself.
    pub attributes: Option<Attributes>,
    /// The profile that applies.
    pub profile: Option<ProfileKey>,
    /// The transport of its newest live link.
    pub connected: Option<Transport>,
    /// How often it polls, as far as it was seen to; not stored.
    pub interval: Duration,
    /// It takes `opamp` settings.
    pub capable: bool,
    /// It shows what lets it receive.
    pub receives: bool,
    /// Where it is.
    pub state: SettingsState,
    /// What it is known to run.
    pub proved: Option<Proved>,
    /// The newest revision that was offered, and when.
    pub last_offer: Option<(Recognition, Timestamp)>,
    /// Everything that was offered under this UID, newest last, bounded.
    pub offered: Vec<Recognition>,
    /// When `state` last changed.
    pub since: Timestamp,
    /// When it was last heard.
    pub last_contact: Timestamp,
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
    },
    /// It is known to run a revision.
    Proved(Proved),
    /// It came without the settings it had.
    LostSettings,
    /// It left after an offer.
    Switching,
    /// It did not come back in time.
    Lost,
    /// It reported a failure; the text is its own, cut and cleaned.
    Failed(String),
    /// Law 5 keeps an offer back.
    HeldBack(Silence),
    /// It needs a primary proof.
    AwaitingProof,
}

/// An agent's own words, fit for logs and statuses: one line, bounded, without
/// control characters and without anything that looks like a credential.
#[must_use]
pub(super) fn clean(text: &str) -> String {
    const MAX_CHARS: usize = 256;
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(4096)
        .collect();
    let mut words = Vec::new();
    let mut hide_next = false;
    for word in line.split_whitespace() {
        let credential = hide_next
            || word.contains("-----")
            || (word.len() >= 20
                && word.chars().filter(char::is_ascii_digit).count() >= 2
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+/=_-.".contains(c)));
        hide_next = matches!(
            word.to_ascii_lowercase().trim_end_matches(':'),
            "bearer" | "basic"
        );
        words.push(if credential { "[removed]" } else { word });
    }
    words.join(" ").chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law7_an_agents_words_are_cleaned() {
        let text = "x509:\u{1b}[31m bad\nBearer abc-def eyJhbGciOiJIUzI1NiJ9.e30 -----BEGIN";
        assert_eq!(
            clean(text),
            "x509: [31m bad Bearer [removed] [removed] [removed]"
        );
        assert_eq!(clean(&"x ".repeat(1000)).chars().count(), 256);
    }
}
