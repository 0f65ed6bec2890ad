//! The first page, and the list of profiles.

use std::{sync::atomic::Ordering, time::Duration};

use askama::Template;
use jiff::{SignedDuration, Timestamp};
use opamp_operator_api::{
    ConditionType, ProfileKey, condition::find_condition, v1alpha1::OpAMPConnectionProfileStatus,
};

use super::{
    Asked, Frame, Next, Page, ROWS, render,
    words::{BAD, Badge, PLAIN, ProfileLink, Text, WARNING, When},
    wrong::{self, Wrong},
};
use crate::hub::{Hub, Known};

/// Profiles that are looked through for what is wrong.
pub(super) const LOOKED_THROUGH: usize = 10_000;
/// Wrongs that are told of.
const MOST: usize = 20;
/// When the end of a certificate is near.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    leads: bool,
    since: When,
    serving: Option<End>,
    connected: usize,
    known: usize,
    profiles: usize,
    ready: usize,
    /// There are more than were looked through.
    more: bool,
    wrong: Vec<Wrong>,
    left_out: usize,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "profiles.html")]
struct Profiles {
    frame: Frame,
    rows: Vec<Row>,
    pages: Next,
}

/// A profile in a list.
pub(super) struct Row {
    profile: ProfileLink,
    ready: Badge,
    reason: Text,
    matched: i32,
    connected: i32,
    up_to_date: i32,
    revision: Option<i64>,
    end: Option<End>,
}

/// The end of a certificate.
pub(super) struct End {
    pub(super) at: When,
    pub(super) badge: Option<Badge>,
}

impl End {
    pub(super) fn of(at: Timestamp, now: Timestamp) -> Self {
        let badge = if at <= now {
            Some(Badge::of(BAD, "Ended"))
        } else {
            (at.duration_since(now) < SOON).then(|| Badge::of(WARNING, "Soon"))
        };
        let at = When::of(at, now);
        Self { at, badge }
    }
}

pub(super) fn page(hub: &Hub, asked: &Asked) -> Page {
    let known = hub.statuses.page(None, LOOKED_THROUGH + 1);
    let all = known.iter().take(LOOKED_THROUGH);
    let mut wrong = wrong::with_operator(hub);
    wrong.extend(all.flat_map(|(key, known)| wrong::with_profile(key, known)));
    wrong::sort(&mut wrong);
    let left_out = wrong.len().saturating_sub(MOST);
    wrong.truncate(MOST);
    let (agents, connected) = hub.roster.count();
    let uptime = hub.clock.now().uptime;
    let started = asked.now - Duration::from_secs(uptime.as_secs());
    let ready = known.iter().filter(|(_, known)| is_ready(&known.status));
    let page = Overview {
        frame: asked.frame("Overview", "overview"),
        leads: hub.leads.load(Ordering::Relaxed),
        since: When::of(started, asked.now),
        serving: hub
            .health
            .serving_until()
            .map(|end| End::of(end, asked.now)),
        connected,
        known: agents,
        profiles: known.len().min(LOOKED_THROUGH),
        ready: ready.count(),
        more: known.len() > LOOKED_THROUGH,
        wrong,
        left_out,
        rows: rows(known.iter().take(ROWS), asked.now),
    };
    render(&page)
}

pub(super) fn profiles(hub: &Hub, asked: &Asked) -> Page {
    let (known, pages) = listed(hub, asked);
    let page = Profiles {
        frame: asked.frame("Profiles", "profiles"),
        rows: rows(known.iter(), asked.now),
        pages,
    };
    render(&page)
}

/// The profiles of a page, and where to go on.
pub(super) fn listed(hub: &Hub, asked: &Asked) -> (Vec<Entry>, Next) {
    let after = asked.after.as_deref().and_then(|after| {
        let (namespace, name) = after.split_once('/')?;
        Some(ProfileKey::new(namespace, name))
    });
    let mut known = hub.statuses.page(after.as_ref(), ROWS + 1);
    let more = known.len() > ROWS;
    known.truncate(ROWS);
    let last = known.last().map(|(key, _)| key.to_string());
    (known, asked.next(last.filter(|_| more)))
}

/// A profile and what is known of it.
pub(super) type Entry = (ProfileKey, std::sync::Arc<Known>);

fn is_ready(status: &OpAMPConnectionProfileStatus) -> bool {
    let ready = find_condition(&status.conditions, ConditionType::Ready);
    ready.is_some_and(|ready| ready.status == "True")
}

fn rows<'a>(known: impl Iterator<Item = &'a Entry>, now: Timestamp) -> Vec<Row> {
    let row = |(key, known): &Entry| {
        let status = &known.status;
        let counts = status.agents.unwrap_or_default();
        let ready = find_condition(&status.conditions, ConditionType::Ready);
        let ends = status.references.iter();
        let ends = ends.filter_map(|reference| Some(reference.not_after.as_ref()?.0));
        Row {
            profile: key.into(),
            ready: ready.map_or_else(|| Badge::of(PLAIN, "not judged"), Badge::condition),
            reason: ready
                .map(|ready| Text::from(&ready.reason))
                .unwrap_or_default(),
            matched: counts.matched,
            connected: counts.connected,
            up_to_date: counts.up_to_date,
            revision: status.revision.as_ref().map(|revision| revision.number),
            end: ends.min().map(|end| End::of(end, now)),
        }
    };
    known.map(row).collect()
}
