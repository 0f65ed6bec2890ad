//! What became of offers, counted from transitions and nothing else.

use std::{collections::BTreeMap, fmt};

use opamp_operator_api::ProfileKey;
use opamp_operator_core::fleet::{Agent, Silence, Transition};
use parking_lot::Mutex;

use super::facts::PROFILE;
use crate::metrics::{Counter, Histogram, Kind, Label, Metric, Page, Unit, Values};

pub(super) static OFFERS: Metric = Metric {
    name: "opamp_operator_offers_total",
    kind: Kind::Counter,
    unit: None,
    labels: &[
        PROFILE[0],
        PROFILE[1],
        Label {
            name: "outcome",
            values: Values::Of(&OUTCOMES),
        },
    ],
    help: "Offers of settings for OpAMP that left (sent), and what became of them: the agent runs them (proved), said that it cannot use them (failed), did not come back in two minutes (lost), came back without them (came_back_without), or went to the server of another (departed). One may have several outcomes, such as lost and later proved.",
};
pub(super) static HELD_BACK: Metric = Metric {
    name: "opamp_operator_offers_held_back_total",
    kind: Kind::Counter,
    unit: None,
    labels: &[Label {
        name: "reason",
        values: Values::Of(&REASONS),
    }],
    help: "How often an agent began to wait for its next offer: after attempts without evidence (backoff), or after too many offers (bucket_empty).",
};

pub(super) static ROTATION: Metric = Metric {
    name: "opamp_operator_rotation_seconds",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    labels: &[],
    help: "From when the operator saw the change of a profile or its objects that made a revision, to an agent's evidence that it runs it: of agents that were offered it and ran an older one of the profile, with the time that they were away. A change that this process did not see is not observed.",
};
/// Of the histogram.
const SECONDS: [f64; 11] = [
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];

/// Profiles that have labels of their own; the rest are one.
const MOST: usize = 1000;

const OUTCOMES: [&str; 6] = [
    "sent",
    "proved",
    "failed",
    "lost",
    "came_back_without",
    "departed",
];
const REASONS: [&str; 2] = ["backoff", "bucket_empty"];

#[derive(Clone, Copy)]
enum Outcome {
    Sent,
    Proved,
    Failed,
    Lost,
    CameBackWithout,
    Departed,
}

type Counts = [u64; OUTCOMES.len()];

/// See the module.
#[derive(Debug)]
pub(super) struct Offers {
    counts: Mutex<ByProfile>,
    held_back: [Counter; REASONS.len()],
    rotation: Histogram,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            held_back: <[Counter; REASONS.len()]>::default(),
            rotation: Histogram::new(SECONDS),
        }
    }
}

#[derive(Debug, Default)]
struct ByProfile {
    named: BTreeMap<ProfileKey, Counts>,
    other: Counts,
}

impl Offers {
    /// A profile is there: it gets labels of its own, if there is room.
    pub(super) fn follow(&self, profile: &ProfileKey) {
        let named = &mut self.counts.lock().named;
        if named.len() < MOST && !named.contains_key(profile) {
            named.insert(profile.clone(), Counts::default());
        }
    }

    /// A profile is gone, and its numbers with it.
    pub(super) fn forget(&self, profile: &ProfileKey) {
        self.counts.lock().named.remove(profile);
    }

    /// Profiles that have labels of their own.
    pub(super) fn named(&self) -> Vec<ProfileKey> {
        self.counts.lock().named.keys().cloned().collect()
    }

    /// Counts a change of an agent.
    pub(super) fn note(&self, agent: &Agent, transition: &Transition) {
        let outcome = match transition {
            Transition::Offered { .. } => Outcome::Sent,
            Transition::Taken { after } => {
                if let Some(after) = after {
                    self.rotation.observe(after.as_secs_f64());
                }
                Outcome::Proved
            }
            Transition::CameWithout => Outcome::CameBackWithout,
            Transition::Failed(_) => Outcome::Failed,
            Transition::Lost => Outcome::Lost,
            Transition::Departed => Outcome::Departed,
            Transition::HeldBack(why, _) => {
                let place = usize::from(*why == Silence::BucketEmpty);
                self.held_back[place].inc();
                return;
            }
            _ => return,
        };
        let profile = agent.offered_last().map(|offered| &offered.profile);
        let mut counts = self.counts.lock();
        let ByProfile { named, other } = &mut *counts;
        let of = profile.and_then(|profile| named.get_mut(profile));
        of.unwrap_or(other)[outcome as usize] += 1;
    }

    pub(super) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut samples = page.metric(&OFFERS)?;
        let counts = self.counts.lock();
        for (profile, counts) in &counts.named {
            for (outcome, count) in OUTCOMES.iter().zip(counts) {
                samples.value(&[&profile.namespace, &profile.name, outcome], *count)?;
            }
        }
        if counts.other.iter().any(|count| *count > 0) {
            for (outcome, count) in OUTCOMES.iter().zip(&counts.other) {
                samples.value(&["", "other", outcome], *count)?;
            }
        }
        drop(counts);
        let held_back = self.held_back.iter().map(Counter::get);
        page.values(&HELD_BACK, REASONS.into_iter().zip(held_back))?;
        page.metric(&ROTATION)?.histogram(&self.rotation)
    }
}
