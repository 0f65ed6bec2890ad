//! One first: how far a revision may go.
//!
//! A new revision goes to one connected agent; its evidence opens it to the
//! rest; if that does not come in time, it is halted and nobody else touched.

use std::{cmp::Reverse, time::Duration};

use opamp_wire::InstanceUid;
use sha2::{Digest as _, Sha256};

use crate::{
    Now,
    catalog::Bound,
    fleet::{AgentRecord, SettingsState, Transport},
    offer::Revision,
};

/// An agent that cannot be offered anything within this time (its bucket is
/// empty, say) gives way to the next; one that polls, within two polls.
const GIVE_WAY: Duration = Duration::from_secs(30);
const GIVE_WAY_POLLS: u32 = 2;
/// One that goes to the server of another counts as gone after the time in
/// which it could have come back.
const TO_DEPART: Duration = Duration::from_secs(150);
/// One that polls has at least this many polls to come back with evidence.
const EVIDENCE_POLLS: u32 = 3;

/// Where the rollout of one revision is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Of which revision.
    pub number: u64,
    /// Everyone may have it.
    pub opened: bool,
    /// The first agent, and when it was chosen.
    pub first: Option<(InstanceUid, Duration)>,
    /// When the first agent was seen to have been offered the revision.
    pub offered: Option<Duration>,
    /// The first agent brought no evidence in time.
    pub halted: bool,
}

impl Rollout {
    /// One that an earlier process halted: it goes on from there.
    #[must_use]
    pub fn halted(number: u64, now: Now) -> Self {
        Self {
            number,
            offered: Some(now.uptime),
            halted: true,
            ..Self::default()
        }
    }

    /// As [`crate::catalog::Target`] says it.
    #[must_use]
    pub fn bound(&self) -> Bound {
        match (self.opened, self.first) {
            (true, _) => Bound::Everyone,
            (false, Some((uid, _))) => Bound::One(uid),
            (false, None) => Bound::Nobody,
        }
    }
}

/// The next state of a rollout, and when to ask again.
#[must_use]
pub fn plan(
    before: &Rollout,
    current: &Revision,
    agents: &[AgentRecord],
    timeout: Duration,
    now: Now,
) -> (Rollout, Option<Duration>) {
    let mut next = if before.number == current.number() {
        before.clone()
    } else {
        Rollout {
            number: current.number(),
            ..Rollout::default()
        }
    };
    // What shows here settings for the server of another did not go there.
    let proved = |agent: &AgentRecord| {
        let this = agent.proved.as_ref();
        let this = this.filter(|p| p.number == current.number() && p.profile == *current.profile());
        this.is_some() && !current.is_external()
    };
    // By the list and not the last offer: that one a restart forgets.
    let offered = |agent: &&AgentRecord| {
        let mut known = agent.offered.iter();
        known.any(|r| r.number == current.number() && r.profile == *current.profile())
    };
    // Whoever went to the server of another brings no other evidence than that;
    // a process that did not send it there calls it lost.
    let departed = |agent: &AgentRecord| {
        matches!(agent.state, SettingsState::Departed | SettingsState::Lost)
            && current.is_external()
            && offered(&agent)
    };
    if next.opened || agents.iter().any(|agent| proved(agent) || departed(agent)) {
        next.opened = true;
        next.halted = false;
        return (next, None);
    }
    let first = next
        .first
        .and_then(|(uid, _)| agents.iter().find(|agent| agent.uid == uid));
    // Whoever has it is the first, also if a rollout before a restart chose it.
    let has_it = first
        .filter(offered)
        .or_else(|| agents.iter().find(offered));
    if let Some(agent) = has_it
        && first.is_none_or(|first| first.uid != agent.uid)
    {
        next.first = Some((agent.uid, now.uptime));
    }
    // One that has it and is gone is still the first: it may be broken by it.
    if has_it.is_some() || next.offered.is_some() {
        let since = *next.offered.get_or_insert(now.uptime);
        let polls = has_it.map_or(Duration::ZERO, |agent| polls(agent, EVIDENCE_POLLS));
        let departs = if current.is_external() {
            TO_DEPART
        } else {
            Duration::ZERO
        };
        let end = since + timeout.max(polls).saturating_add(departs);
        // One that was halted before a restart stays so.
        next.halted |= now.uptime >= end;
        let again = (!next.halted).then_some(end);
        return (next, again);
    }
    if let (Some((_, chosen)), Some(first)) = (next.first, first)
        && eligible(first)
        && now.uptime < chosen + give_way(first)
    {
        return (next, Some(chosen + give_way(first)));
    }
    let after = next.first.map(|(uid, _)| uid);
    let chosen = choose(agents, current, after);
    next.first = chosen.map(|agent| (agent.uid, now.uptime));
    next.offered = None;
    let again = chosen.map(|agent| now.uptime + give_way(agent));
    (next, again)
}

/// How long this many polls of an agent take; none of one that can be pushed
/// to. One that is away may have left to poll with what it was offered.
fn polls(agent: &AgentRecord, count: u32) -> Duration {
    match agent.connected {
        Some(Transport::WebSocket) => Duration::ZERO,
        _ => agent.interval.saturating_mul(count),
    }
}

fn give_way(agent: &AgentRecord) -> Duration {
    GIVE_WAY.max(polls(agent, GIVE_WAY_POLLS))
}

fn eligible(agent: &AgentRecord) -> bool {
    agent.connected.is_some() && agent.capable && agent.receives
}

/// The first agent of a revision; beginning after the one that gave way, so
/// that everybody has a turn.
fn choose<'a>(
    agents: &'a [AgentRecord],
    current: &Revision,
    after: Option<InstanceUid>,
) -> Option<&'a AgentRecord> {
    let after = agents.iter().find(|agent| Some(agent.uid) == after);
    let after = after.map(|agent| rank(agent, current));
    let turn = |agent: &&AgentRecord| {
        let rank = rank(agent, current);
        (after.is_some_and(|after| rank <= after), rank)
    };
    let may_be_first = |agent: &&AgentRecord| eligible(agent) && !agent.uid.is_nil();
    agents.iter().filter(may_be_first).min_by_key(turn)
}

/// The lowest is the first: an agent that can show what a revision does, and
/// soon. Whoever made nothing of its last offer comes last, or one bad agent
/// would halt every rotation; then whoever took the newest settings before;
/// WebSocket before HTTP, since it can be pushed to; then by a hash that nobody
/// can choose an instance UID for, since the marker is not known in advance.
fn rank(agent: &AgentRecord, current: &Revision) -> (bool, Reverse<u64>, bool, [u8; 32]) {
    use SettingsState::{Failed, Lost, Offered, Switching};
    let proved = agent.proved.as_ref();
    // One that came back with what it had before is `Pending`.
    let without_it = agent.last_offer.as_ref().is_some_and(|(last, _)| {
        !proved.is_some_and(|p| p.number == last.number && p.profile == last.profile)
    });
    let stuck = without_it || matches!(agent.state, Offered | Switching | Lost | Failed);
    let of_this = proved.filter(|p| p.profile == *current.profile());
    let hash = Sha256::new()
        .chain_update(current.marker().as_bytes())
        .chain_update(agent.uid.as_bytes())
        .finalize();
    (
        stuck,
        Reverse(of_this.map_or(0, |p| p.number)),
        agent.connected == Some(Transport::Http),
        hash.into(),
    )
}
