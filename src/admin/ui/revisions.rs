//! The revisions in force, how far each may go, and what is held back.

use askama::{Template, filters::HtmlSafe};
use opamp_operator_api::{
    ProfileKey,
    v1alpha1::{OpAMPConnectionProfileStatus, RevisionCause},
};
use opamp_operator_core::catalog::Bound;

use super::{
    Asked, Frame, Next, Page, overview, render,
    words::{ProfileLink, Text, When},
    wrong::{self, Wrong},
};
use crate::hub::Hub;

/// What is held back that is told of.
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "revisions.html")]
struct Revisions {
    frame: Frame,
    wrong: Vec<Wrong>,
    left_out: usize,
    rows: Vec<Row>,
    pages: Next,
}

struct Row {
    profile: ProfileLink,
    /// None while nothing was ever good enough to offer.
    revision: Option<Revision>,
    reach: Reach,
    up_to_date: i32,
    matched: i32,
}

/// The revision in force.
pub(super) struct Revision {
    pub(super) number: i64,
    pub(super) marker: Text,
    pub(super) since: When,
    pub(super) cause: &'static str,
}

impl Revision {
    pub(super) fn of(status: &OpAMPConnectionProfileStatus, asked: &Asked) -> Option<Self> {
        let revision = status.revision.as_ref()?;
        Some(Self {
            number: revision.number,
            marker: Text::from(&revision.marker),
            since: When::of(revision.start_time.0, asked.now),
            cause: match revision.cause {
                RevisionCause::SpecChanged => "the profile was written",
                RevisionCause::SecretChanged => "a Secret changed",
                RevisionCause::ConfigMapChanged => "a ConfigMap changed",
            },
        })
    }
}

/// Who may be offered the revision in force, and the number of the one that
/// the others stay with.
#[derive(Template)]
#[template(path = "reach.html")]
pub(super) struct Reach {
    who: Who,
    previous: Option<u64>,
}

impl HtmlSafe for Reach {}

enum Who {
    /// What these words say.
    Said(&'static str),
    /// This agent, whose evidence opens it to the rest.
    First(String),
}

impl Reach {
    pub(super) fn of(hub: &Hub, key: &ProfileKey) -> Self {
        let target = hub.book.in_force(key);
        let may = target.as_ref().map(|target| (target.paused, target.bound));
        let who = match may {
            None => Who::Said("nobody: this process has no settings to offer"),
            Some((true, _)) => {
                Who::Said("nobody: the profile is paused, or what it would take was taken away")
            }
            Some((false, Bound::Nobody)) => {
                Who::Said("nobody: it waits for a first agent, or was halted")
            }
            Some((false, Bound::One(uid))) => Who::First(uid.to_string()),
            Some((false, Bound::Everyone)) => Who::Said("every agent that the profile applies to"),
        };
        let narrow = target.filter(|target| target.bound != Bound::Everyone);
        let previous = narrow.and_then(|target| Some(target.previous.as_ref()?.number()));
        Self { who, previous }
    }
}

pub(super) fn page(hub: &Hub, asked: &Asked) -> Page {
    let all = hub.statuses.page(None, overview::LOOKED_THROUGH);
    let wrong = all.iter();
    let wrong = wrong.flat_map(|(key, known)| wrong::with_profile(key, known));
    let mut wrong: Vec<_> = wrong.filter(Wrong::is_held_back).collect();
    wrong::sort(&mut wrong);
    let left_out = wrong.len().saturating_sub(MOST);
    wrong.truncate(MOST);
    let (known, pages) = overview::listed(hub, asked);
    let row = |(key, known): &overview::Entry| {
        let counts = known.status.agents.unwrap_or_default();
        Row {
            profile: key.into(),
            revision: Revision::of(&known.status, asked),
            reach: Reach::of(hub, key),
            up_to_date: counts.up_to_date,
            matched: counts.matched,
        }
    };
    let page = Revisions {
        frame: asked.frame("Revisions", "revisions"),
        wrong,
        left_out,
        rows: known.iter().map(row).collect(),
        pages,
    };
    render(&page)
}
