//! From the steps of a change to the spans of its trace. It has no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use opamp_operator_api::{ProfileKey, Reason, v1alpha1::RevisionCause};
use opamp_operator_core::offer::{Change, ChangeId};
use opamp_wire::InstanceUid;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::{
    settings::Ratio,
    span::{Made, Names, span},
};
use crate::hub::{Step, What};

/// A trace names so many agents, offers and profiles; the others are counted.
const MAX_AGENTS: usize = 100;
const MAX_PROFILES: usize = 100;
/// Changes that are followed at once.
const MAX_OPEN: usize = 64;
/// A change of which nothing more is expected is over after so long.
const QUIET: Duration = Duration::from_secs(5);
/// And in any case after so long.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// All changes that are followed.
#[derive(Debug)]
pub(super) struct Rotations {
    names: Names,
    ratio: Ratio,
    open: BTreeMap<ChangeId, Rotation>,
    /// Changes for which there was no room.
    pub(super) left_out: u64,
}

/// One change, from where it was seen to the last evidence.
#[derive(Debug)]
struct Rotation {
    change: Change,
    root: [u8; 8],
    trace: [u8; 16],
    profiles: BTreeMap<ProfileKey, Part>,
    offers: BTreeMap<InstanceUid, Offer>,
    offered: BTreeSet<InstanceUid>,
    /// Offers and profiles that are only counted.
    agents_left_out: u64,
    profiles_left_out: u64,
    proved: u64,
    failed: u64,
    spans: Vec<Span>,
    /// When something last happened.
    last: Timestamp,
}

/// What became of it at one profile.
#[derive(Debug, Default)]
struct Part {
    resolved: bool,
    number: Option<u64>,
    marker: Option<String>,
    cause: Option<RevisionCause>,
    refused: Option<Reason>,
    progressing: bool,
    said: String,
}

/// An offer that nobody knows the end of.
#[derive(Debug)]
struct Offer {
    id: [u8; 8],
    profile: ProfileKey,
    number: u64,
    marker: String,
    retry: u32,
    at: Timestamp,
    left: Option<Timestamp>,
}

/// How an offer, or a rotation, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Good(&'static str),
    Bad(&'static str),
}

impl Rotations {
    pub(super) fn new(names: Names, ratio: Ratio) -> Self {
        Self {
            names,
            ratio,
            open: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// Takes in a step.
    pub(super) fn note(&mut self, step: Step) {
        let begins = matches!(
            step.what,
            What::Resolved(_) | What::Refused(_) | What::InForce { .. }
        );
        if let What::InForce { .. } = step.what {
            // What came before is nobody's way any more.
            for (id, other) in &mut self.open {
                if *id != step.change.id
                    && let Some(part) = other.profiles.get_mut(&step.profile)
                {
                    part.progressing = false;
                }
            }
        }
        if !self.open.contains_key(&step.change.id) {
            let (trace, dice) = self.names.trace(step.change.id);
            if !begins || !self.ratio.takes(dice) {
                return;
            }
            if self.open.len() >= MAX_OPEN {
                self.left_out += u64::from(!matches!(step.what, What::InForce { .. }));
                return;
            }
            let rotation = Rotation::new(step.change, trace, self.names.span());
            self.open.insert(step.change.id, rotation);
        }
        if let Some(rotation) = self.open.get_mut(&step.change.id) {
            rotation.note(step, &mut self.names);
        }
    }

    /// The traces of what is over by now.
    pub(super) fn over(&mut self, now: Timestamp) -> Vec<Vec<Span>> {
        let over: Vec<_> = self
            .open
            .iter()
            .filter_map(|(id, rotation)| Some((*id, rotation.end(now)?)))
            .collect();
        let ended = over.into_iter().filter_map(|(id, end)| {
            let rotation = self.open.remove(&id)?;
            Some(rotation.spans(end, &mut self.names))
        });
        ended.collect()
    }

    /// The traces of everything that is followed: this process ends.
    pub(super) fn finish(&mut self) -> Vec<Vec<Span>> {
        let open = std::mem::take(&mut self.open).into_values();
        open.map(|rotation| {
            let end = rotation.is_quiet().then(|| rotation.good_end());
            rotation.spans(end.unwrap_or(End::Good("unfinished")), &mut self.names)
        })
        .collect()
    }
}

impl Rotation {
    fn new(change: Change, trace: [u8; 16], root: [u8; 8]) -> Self {
        Self {
            change,
            root,
            trace,
            profiles: BTreeMap::new(),
            offers: BTreeMap::new(),
            offered: BTreeSet::new(),
            agents_left_out: 0,
            profiles_left_out: 0,
            proved: 0,
            failed: 0,
            spans: Vec::new(),
            last: change.at.wall,
        }
    }

    fn note(&mut self, step: Step, names: &mut Names) {
        let Step {
            profile, at, what, ..
        } = step;
        let known = self.profiles.contains_key(&profile);
        if !known && self.profiles.len() >= MAX_PROFILES {
            self.profiles_left_out += u64::from(matches!(what, What::Resolved(_)));
        } else {
            self.profiles.entry(profile.clone()).or_default();
        }
        let mut lost = Part::default();
        let part = self.profiles.get_mut(&profile).unwrap_or(&mut lost);
        // A status that says the same again is nothing that happened.
        let mut news = true;
        match what {
            What::Resolved(since) => {
                part.refused = None;
                part.progressing = false;
                if !std::mem::replace(&mut part.resolved, true) {
                    let made = self.made("resolve", since, at, names);
                    self.spans.push(made.text("opamp.profile", &profile).end());
                }
            }
            What::Refused(reason) => part.refused = Some(reason),
            What::Stored(since) => {
                let made = self.made("ledger write", since, at, names);
                self.spans.push(made.text("opamp.profile", &profile).end());
            }
            What::InForce {
                number,
                marker,
                cause,
            } => {
                part.refused = None;
                part.number = Some(number);
                part.marker = Some(marker);
                part.cause = Some(cause);
            }
            What::Progress(progressing, said) => {
                news = part.progressing != progressing || part.said != said;
                part.progressing = progressing;
                part.said = said;
            }
            What::Offered {
                agent,
                number,
                marker,
                retry,
            } => {
                self.ended(agent, End::Bad("without an answer"), at, names);
                self.offer(agent, profile, (number, marker, retry), at, names);
            }
            What::Left(agent) => {
                if let Some(offer) = self.offers.get_mut(&agent) {
                    offer.left = Some(at);
                }
            }
            What::Proved(agent, evidence) => {
                self.proved += 1;
                let kind = format!("{evidence:?}");
                self.proves(agent, &kind, at, names);
                self.ended(agent, End::Good("proved"), at, names);
            }
            What::CameWithout(agent) => self.ended(agent, End::Bad("came back without"), at, names),
            What::Failed(agent) => self.ended(agent, End::Bad("failed"), at, names),
            What::Lost(agent) => self.ended(agent, End::Bad("lost"), at, names),
            What::Departed(agent) => self.ended(agent, End::Good("departed"), at, names),
        }
        if news {
            self.last = self.last.max(at);
        }
    }

    fn offer(
        &mut self,
        agent: InstanceUid,
        profile: ProfileKey,
        (number, marker, retry): (u64, String, u32),
        at: Timestamp,
        names: &mut Names,
    ) {
        let known = self.offered.contains(&agent);
        if !known && self.offered.len() >= MAX_AGENTS {
            self.agents_left_out += 1;
            return;
        }
        // One that is offered it again and again is one agent, and a bounded story.
        if self.spans.len() >= MAX_PROFILES * 2 + MAX_AGENTS * 4 {
            return;
        }
        self.offered.insert(agent);
        let offer = Offer {
            id: names.span(),
            profile,
            number,
            marker,
            retry,
            at,
            left: None,
        };
        self.offers.insert(agent, offer);
    }

    /// The time in which an agent came back with what it was offered.
    fn proves(&mut self, agent: InstanceUid, kind: &str, at: Timestamp, names: &mut Names) {
        let Some(offer) = self.offers.get(&agent) else {
            return;
        };
        let (parent, since) = (offer.id, offer.left.unwrap_or(offer.at));
        let made = self.made("evidence", since, at, names).below(parent);
        let made = made.text("opamp.agent", &agent);
        self.spans.push(made.text("opamp.evidence", &kind).end());
    }

    fn ended(&mut self, agent: InstanceUid, end: End, at: Timestamp, names: &mut Names) {
        let Some(offer) = self.offers.remove(&agent) else {
            return;
        };
        self.failed += u64::from(matches!(end, End::Bad(_)));
        let made = self.made("offer", offer.at, at, names).named(offer.id);
        let made = made
            .text("opamp.agent", &agent)
            .text("opamp.profile", &offer.profile)
            .number("opamp.revision", offer.number)
            .text("opamp.marker", &offer.marker)
            .number("opamp.retry", u64::from(offer.retry));
        self.spans.push(end.of(made).end());
    }

    /// A child of the root.
    fn made(&self, name: &str, from: Timestamp, to: Timestamp, names: &mut Names) -> Made {
        span(name, self.trace, names.span(), from, to).below(self.root)
    }

    fn is_quiet(&self) -> bool {
        self.offers.is_empty() && !self.profiles.values().any(|part| part.progressing)
    }

    fn end(&self, now: Timestamp) -> Option<End> {
        let since = |moment: Timestamp| now.duration_since(moment).unsigned_abs();
        if self.is_quiet() && since(self.last) >= QUIET {
            return Some(self.good_end());
        }
        (since(self.change.at.wall) >= LONGEST).then_some(End::Bad("not ended in time"))
    }

    fn good_end(&self) -> End {
        if self.profiles.values().any(|part| part.refused.is_some()) {
            return End::Bad("held back");
        }
        let halted = Reason::Halted.as_str();
        if self.profiles.values().any(|part| part.said == halted) {
            return End::Bad("halted");
        }
        End::Good("done")
    }

    fn spans(mut self, end: End, names: &mut Names) -> Vec<Span> {
        let open: Vec<_> = self.offers.keys().copied().collect();
        for agent in open {
            self.ended(agent, End::Good("unknown"), self.last, names);
        }
        let (from, to) = (self.change.at.wall, self.last);
        let mut root = span("rotation", self.trace, self.root, from, to)
            .text("opamp.change", &self.change.id)
            .number(
                "opamp.profiles",
                self.profiles.len() as u64 + self.profiles_left_out,
            )
            .number(
                "opamp.agents",
                self.offered.len() as u64 + self.agents_left_out,
            )
            .number("opamp.agents_left_out", self.agents_left_out)
            .number("opamp.agents_proved", self.proved);
        if let (1, Some((profile, part))) = (self.profiles.len(), self.profiles.first_key_value()) {
            root = root.text("opamp.profile", profile);
            for (name, value) in [
                ("opamp.revision", part.number.map(|n| n.to_string())),
                ("opamp.marker", part.marker.clone()),
                ("opamp.cause", part.cause.map(|cause| format!("{cause:?}"))),
            ] {
                if let Some(value) = value {
                    root = root.text(name, &value);
                }
            }
        }
        let refused = self.profiles.values().find_map(|part| part.refused);
        if let Some(reason) = refused {
            root = root.text("opamp.reason", &reason.as_str());
        }
        self.spans.push(end.of(root).end());
        self.spans
    }
}

impl End {
    fn of(self, made: Made) -> Made {
        match self {
            Self::Good(outcome) => made.text("opamp.outcome", &outcome),
            Self::Bad(outcome) => made.text("opamp.outcome", &outcome).failed(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use opamp_operator_core::{Now, fleet::Evidence};
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000 + seconds).unwrap()
    }

    fn change(id: u32) -> Change {
        let now = Now {
            wall: at(0),
            uptime: Duration::ZERO,
        };
        let first = false;
        Change {
            id: ChangeId(id),
            at: now,
            first,
        }
    }

    fn uid(n: u8) -> InstanceUid {
        InstanceUid::from_bytes([n; 16])
    }

    fn all() -> Rotations {
        Rotations::new(Names::new([7; 16]), Ratio::default())
    }

    fn tell(rotations: &mut Rotations, id: u32, seconds: i64, what: What) {
        rotations.note(Step {
            change: change(id),
            profile: ProfileKey::new("a", "p"),
            at: at(seconds),
            what,
        });
    }

    fn in_force(number: u64) -> What {
        What::InForce {
            number,
            marker: "0123456789ab".into(),
            cause: RevisionCause::SecretChanged,
        }
    }

    fn offered(agent: u8) -> What {
        What::Offered {
            agent: uid(agent),
            number: 2,
            marker: "0123456789ab".into(),
            retry: 0,
        }
    }

    fn progress(progressing: bool) -> What {
        What::Progress(progressing, "Complete".into())
    }

    fn begin(rotations: &mut Rotations, id: u32) {
        tell(rotations, id, 2, What::Resolved(at(1)));
        tell(rotations, id, 3, What::Stored(at(2)));
        tell(rotations, id, 3, in_force(2));
        tell(rotations, id, 3, progress(true));
    }

    fn named<'a>(trace: &'a [Span], name: &str) -> &'a Span {
        let mut spans = trace.iter().filter(|span| span.name == name);
        let found = spans.next().unwrap();
        assert!(spans.next().is_none(), "{name} is there twice");
        found
    }

    fn value(span: &Span, key: &str) -> String {
        let found = span.attributes.iter().find(|pair| pair.key == key);
        match found.and_then(|pair| pair.value.clone()?.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    #[test]
    fn a_rotation_is_one_trace_whose_spans_are_all_there() {
        let mut rotations = all();
        begin(&mut rotations, 1);
        tell(&mut rotations, 1, 4, offered(1));
        tell(&mut rotations, 1, 6, What::Left(uid(1)));
        assert!(rotations.over(at(60)).is_empty(), "it is awaited");
        let proved = What::Proved(uid(1), Evidence::SettingsHeader);
        tell(&mut rotations, 1, 9, proved);
        assert!(rotations.over(at(60)).is_empty(), "others may follow");
        tell(&mut rotations, 1, 10, progress(false));
        tell(&mut rotations, 1, 14, progress(false));
        assert!(rotations.over(at(14)).is_empty(), "it is not quiet yet");
        let traces = rotations.over(at(15));
        let [trace] = &traces[..] else {
            panic!("{traces:?}")
        };
        assert_eq!(trace.len(), 5);
        let root = named(trace, "rotation");
        assert!(root.parent_span_id.is_empty());
        for child in ["resolve", "ledger write", "offer"] {
            assert_eq!(named(trace, child).parent_span_id, root.span_id);
        }
        let (offer, evidence) = (named(trace, "offer"), named(trace, "evidence"));
        assert_eq!(evidence.parent_span_id, offer.span_id);
        let nanos = |seconds| u64::try_from(at(seconds).as_nanosecond()).unwrap();
        for (span, from, to) in [(root, 0, 10), (offer, 4, 9), (evidence, 6, 9)] {
            let times = (span.start_time_unix_nano, span.end_time_unix_nano);
            assert_eq!(times, (nanos(from), nanos(to)), "{}", span.name);
        }
        assert!(trace.iter().all(|span| span.trace_id == root.trace_id));
        for (span, key, said) in [
            (root, "opamp.change", "00000001"),
            (root, "opamp.profile", "a/p"),
            (root, "opamp.revision", "2"),
            (root, "opamp.cause", "SecretChanged"),
            (root, "opamp.outcome", "done"),
            (offer, "opamp.outcome", "proved"),
            (evidence, "opamp.evidence", "SettingsHeader"),
        ] {
            assert_eq!(value(span, key), said, "{key}");
        }
        assert!(rotations.over(at(9999)).is_empty());
    }

    #[test]
    fn law10_a_trace_names_a_hundred_agents_and_counts_the_others() {
        let mut rotations = all();
        begin(&mut rotations, 1);
        for agent in 0..150 {
            tell(&mut rotations, 1, 4, offered(agent));
            let proved = What::Proved(uid(agent), Evidence::Token);
            tell(&mut rotations, 1, 5, proved);
        }
        tell(&mut rotations, 1, 6, progress(false));
        let trace = rotations.over(at(20)).remove(0);
        let count = |name: &str| trace.iter().filter(|span| span.name == name).count();
        assert_eq!((count("offer"), count("evidence")), (100, 100));
        let root = named(&trace, "rotation");
        assert_eq!(value(root, "opamp.agents"), "150");
        assert_eq!(value(root, "opamp.agents_left_out"), "50");
        assert_eq!(value(root, "opamp.agents_proved"), "150");
    }

    #[test]
    fn law10_who_never_answers_fills_no_trace_and_keeps_none_open_for_ever() {
        let mut rotations = all();
        begin(&mut rotations, 1);
        for second in 0..9_999 {
            tell(&mut rotations, 1, 4 + second / 100, offered(1));
        }
        assert!(rotations.over(at(1_799)).is_empty());
        let trace = rotations.over(at(1_800)).remove(0);
        assert!(trace.len() <= 602, "{}", trace.len());
        let root = named(&trace, "rotation");
        assert_eq!(value(root, "opamp.outcome"), "not ended in time");
        for id in 0..100 {
            begin(&mut rotations, id);
        }
        assert_eq!(rotations.open.len(), MAX_OPEN);
        assert_eq!(rotations.left_out, 36);
    }

    #[test]
    fn how_it_ended_is_told() {
        let mut rotations = all();
        tell(&mut rotations, 1, 2, What::Refused(Reason::Expired));
        // A newer one goes to the agents that this one was for.
        begin(&mut rotations, 2);
        begin(&mut rotations, 3);
        tell(&mut rotations, 3, 4, offered(1));
        tell(&mut rotations, 3, 9, What::Lost(uid(1)));
        let halted = Reason::Halted.as_str().to_owned();
        tell(&mut rotations, 3, 9, What::Progress(false, halted));
        begin(&mut rotations, 4);
        tell(&mut rotations, 4, 4, offered(1));
        let mut traces = rotations.over(at(60));
        traces.extend(rotations.finish());
        let told: BTreeMap<_, _> = traces
            .iter()
            .map(|trace| {
                let root = named(trace, "rotation");
                let bad = root.status.is_some();
                let outcome = value(root, "opamp.outcome");
                (value(root, "opamp.change"), (outcome, bad))
            })
            .collect();
        for (id, outcome, bad) in [
            ("00000001", "held back", true),
            ("00000002", "done", false),
            ("00000003", "halted", true),
            ("00000004", "unfinished", false),
        ] {
            assert_eq!(told[id], (outcome.to_owned(), bad), "{id}");
        }
        let first = traces.iter().find(|trace| trace.len() == 1).unwrap();
        assert_eq!(value(&first[0], "opamp.reason"), "Expired");
    }

    #[test]
    fn what_nobody_saw_the_beginning_of_is_not_followed() {
        let mut rotations = all();
        tell(&mut rotations, 1, 4, offered(1));
        tell(&mut rotations, 1, 5, progress(true));
        assert!(rotations.finish().is_empty());
        let none = "{endpoint: 'http://c', sampleRatio: 0}";
        let none: crate::telemetry::traces::Traces = serde_saphyr::from_str(none).unwrap();
        let mut rotations = Rotations::new(Names::new([7; 16]), none.ratio());
        begin(&mut rotations, 1);
        assert!(rotations.finish().is_empty());
    }
}
