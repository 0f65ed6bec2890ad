//! Laws 2, 4 and 9 in the catalog: whom settings are for, and what stays in
//! force.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
    values::{Attributes, ObjectRef, ProfileKey},
};
use opamp_operator_core::{
    catalog::{Bound, Catalog, Policy, Settings, Settled, Stored, Target},
    identity::Ledger,
    offer::{Context, Draft, Observed, Refusal, Revision},
    rollout::Rollout,
    status::{Overlap, Severity, events, severity, summarize},
};

use crate::common::{World, at, opaque, uid};

const DEBOUNCE: u64 = 2;

pub(super) struct Bench {
    pub(super) world: World,
    pub(super) catalog: Catalog,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let settings = Settings {
            debounce: Duration::from_secs(DEBOUNCE),
            admin_namespaces: ["admin".to_owned()].into(),
            policy,
        };
        Self {
            world: World::new(),
            catalog: Catalog::new(settings),
        }
    }

    pub(super) fn write(
        &mut self,
        spec: Result<&OpAMPConnectionProfileSpec, Refusal>,
        seconds: u64,
    ) {
        let stored = Stored {
            generation: i64::try_from(seconds).unwrap() + 1,
            uid: None,
            spec: spec.map(|spec| Arc::new(spec.clone())),
            status: OpAMPConnectionProfileStatus::default(),
        };
        let key = self.world.profile.clone();
        self.catalog.set_profile(&key, Some(stored), at(seconds));
        for object in self.catalog.wanted() {
            let observed = self.world.objects.get(&object).cloned();
            let observed = observed.unwrap_or(Observed::Absent);
            self.catalog.set_object(&object, observed, at(seconds));
        }
    }

    /// Settles the profile, and adopts what comes of it.
    pub(super) fn settle(&mut self, seconds: u64, opened: bool) -> Settled {
        let settled = self.judge(seconds);
        if let Settled::Draft(draft, spec) = &settled {
            let number = self.number() + 1;
            let state = self.catalog.get(&self.world.profile).unwrap();
            let revision = Revision::new((**draft).clone(), number);
            let revision = Arc::new(revision.caused_by(state.awaited_change()));
            let started = at(seconds).wall;
            self.catalog
                .adopt(revision, Arc::clone(spec), started, opened);
        }
        settled
    }

    fn adopt(&mut self, draft: &Draft, spec: Arc<OpAMPConnectionProfileSpec>) {
        let state = self.catalog.get(&self.world.profile).unwrap();
        let revision = Revision::new(draft.clone(), self.number() + 1);
        let revision = Arc::new(revision.caused_by(state.awaited_change()));
        self.catalog.adopt(revision, spec, at(0).wall, false);
    }

    pub(super) fn judge(&mut self, seconds: u64) -> Settled {
        let trust = self.world.trust(&Ledger::default());
        let context = Context {
            advertised_url: &"wss://opamp.example.com:4320/v1/opamp".parse().unwrap(),
            path: "/v1/opamp",
            serving: Some(self.world.serving()),
            trust: &trust,
            keys: &self.world.keys,
        };
        let key = self.world.profile.clone();
        self.catalog.settle(&key, &context, at(seconds))
    }

    pub(super) fn number(&self) -> u64 {
        let state = self.catalog.get(&self.world.profile);
        let current = state.and_then(|state| state.current.as_ref());
        current.map_or(0, |revision| revision.number())
    }

    pub(super) fn previous(&self) -> Option<u64> {
        let state = self.catalog.get(&self.world.profile)?;
        state.previous.as_ref().map(|revision| revision.number())
    }

    /// Would an agent of this team choose the profile?
    fn selects(&self, team: &str, published: bool) -> bool {
        let attributes = attributes(team);
        let candidates = self.catalog.candidates(|_| published);
        candidates
            .iter()
            .any(|candidate| candidate.selector.matches("", None, &attributes))
    }
}

fn attributes(team: &str) -> Attributes {
    Attributes {
        identifying: [("team".to_owned(), team.to_owned())].into(),
        ..Attributes::default()
    }
}

pub(super) fn for_team(
    spec: &OpAMPConnectionProfileSpec,
    team: &str,
) -> OpAMPConnectionProfileSpec {
    let mut spec = spec.clone();
    let attribute = ("team".to_owned(), team.to_owned());
    spec.agent_selector.match_attributes = [attribute].into();
    spec
}

fn broken() -> Refusal {
    Refusal {
        condition: ConditionType::Accepted,
        reason: Reason::InvalidSpec,
        message: "a typing error".into(),
    }
}

#[test]
fn law2_whom_settings_are_for_changes_with_the_settings() {
    let mut bench = Bench::new();
    let a = for_team(&bench.world.spec, "a");
    bench.write(Ok(&a), 0);
    assert!(!bench.selects("a", false), "nothing is in force yet");
    bench.settle(2, false);
    assert!(bench.selects("a", false));

    // Another token for another team, in one edit.
    let token = "another-token-with-enough-bits-in-it";
    bench.world.secret("token", opaque(&[("token", token)]));
    let b = for_team(&bench.world.spec, "b");
    bench.write(Ok(&b), 10);
    assert!(bench.selects("a", false) && !bench.selects("b", false));
    bench.settle(12, true);
    assert!(bench.selects("b", false) && !bench.selects("a", false));

    // A broken object keeps both as they are.
    bench.world.secret("token", opaque(&[("token", "")]));
    let c = for_team(&bench.world.spec, "c");
    bench.write(Ok(&c), 20);
    bench.settle(22, true);
    assert!(bench.selects("b", false) && !bench.selects("c", false));
    assert_eq!(bench.number(), 2);
}

#[test]
fn law9_a_spec_that_cannot_be_used_moves_no_agent() {
    let mut bench = Bench::new();
    let a = for_team(&bench.world.spec, "a");
    bench.write(Ok(&a), 0);
    bench.settle(2, false);
    bench.write(Err(broken()), 10);
    bench.settle(12, false);
    assert!(bench.selects("a", false));
    let mut greedy = for_team(&bench.world.spec, "b");
    greedy.priority = 1_000_001;
    bench.write(Ok(&greedy), 20);
    bench.settle(22, false);
    assert!(bench.selects("a", false) && !bench.selects("b", false));
    let state = bench.catalog.get(&bench.world.profile).unwrap();
    let reason = state.refusal.as_ref().map(|refusal| refusal.reason);
    assert_eq!(reason, Some(Reason::PolicyDenied));
}

#[test]
fn law8_a_profile_that_had_settings_keeps_its_agents_while_it_is_broken_at_start() {
    let mut bench = Bench::new();
    bench.world.secret("token", opaque(&[("token", "")]));
    let a = for_team(&bench.world.spec, "a");
    bench.write(Ok(&a), 0);
    bench.settle(2, false);
    assert!(bench.selects("a", true));
    // One that never had any takes no agent from another profile.
    assert!(!bench.selects("a", false));
}

#[test]
fn law9_a_profile_that_is_deleted_and_made_anew_keeps_its_agents() {
    let mut bench = Bench::new();
    let a = for_team(&bench.world.spec, "a");
    bench.write(Ok(&a), 0);
    bench.settle(2, false);
    let key = bench.world.profile.clone();
    bench.catalog.set_profile(&key, None, at(10));
    assert!(bench.selects("a", false));
    assert!(bench.catalog.get(&key).is_none(), "no status is written");
    bench.write(Ok(&a), 11);
    // What was observed of the old one is nothing of the new.
    let observed = |bench: &Bench| bench.catalog.get(&key).unwrap().resolved_generation;
    assert_eq!(observed(&bench), None);
    assert!(matches!(bench.settle(12, false), Settled::Unchanged));
    assert_eq!((bench.number(), observed(&bench)), (1, Some(12)));

    bench.catalog.set_profile(&key, None, at(20));
    assert_eq!(bench.catalog.due(at(21)), Vec::<ProfileKey>::new());
    assert_eq!(bench.catalog.due(at(22)), [key]);
    assert!(matches!(bench.settle(22, false), Settled::Gone));
    assert!(!bench.selects("a", true));
}

#[test]
fn law4_what_was_never_open_to_everyone_is_not_what_lost_agents_go_back_to() {
    let mut bench = Bench::new();
    let heartbeats: [u32; 3] = [10, 20, 30];
    let mut spec = bench.world.spec.clone();
    for (heartbeat, opened) in heartbeats.into_iter().zip([false, true, false]) {
        spec.opamp.heartbeat_interval_seconds = heartbeat;
        let seconds = u64::from(heartbeat);
        bench.write(Ok(&spec), seconds);
        bench.settle(seconds + DEBOUNCE, opened);
    }
    // The first was opened, the second never was.
    assert_eq!((bench.number(), bench.previous()), (3, Some(1)));
}

#[test]
fn law4_an_object_that_was_let_go_is_unknown_until_it_is_told_again() {
    let mut bench = Bench::new();
    let spec = bench.world.spec.clone();
    bench.write(Ok(&spec), 0);
    let token = ObjectRef::secret("a", "token");
    assert_ne!(*bench.catalog.object(&token), Observed::Pending);
    bench.catalog.retain(|object| *object != token);
    assert_eq!(*bench.catalog.object(&token), Observed::Pending);
    assert!(matches!(bench.settle(2, false), Settled::Unchanged));
    assert_eq!(bench.number(), 0);
}

#[test]
fn law2_the_settings_before_are_only_for_those_they_were_for() {
    let mut world = World::new();
    world.spec = for_team(&world.spec, "a");
    let before = world.revision_with(1, 10);
    world.spec = for_team(&world.spec, "b");
    let current = world.revision_with(2, 20);
    let mut target = Target {
        current,
        previous: Some(before),
        bound: Bound::Nobody,
        paused: false,
    };
    let number = |target: &Target, team: Option<&str>| {
        let attributes = team.map(attributes);
        let revision = target.revision_for(uid(1), None, attributes.as_ref());
        revision.map(|revision| revision.number())
    };
    assert_eq!(number(&target, Some("a")), Some(1));
    assert_eq!(number(&target, Some("b")), None);
    assert_eq!(number(&target, None), None, "not before it is described");
    target.bound = Bound::Everyone;
    assert_eq!(number(&target, Some("a")), None);
    assert_eq!(number(&target, Some("b")), Some(2));
}

/// Until settings are in force, and after a newer edit, the status speaks of
/// what is.
#[test]
fn law9_a_generation_is_observed_when_its_settings_are_in_force() {
    let mut bench = Bench::new();
    let spec = bench.world.spec.clone();
    let observed = |bench: &Bench| {
        let state = bench.catalog.get(&bench.world.profile);
        state.and_then(|state| state.resolved_generation)
    };
    bench.write(Ok(&spec), 0);
    let Settled::Draft(draft, of) = bench.judge(2) else {
        panic!("not drafted")
    };
    assert_eq!(observed(&bench), None, "its ledger entry is on its way");
    // Another edit comes before that is stored.
    let mut newer = spec.clone();
    newer.opamp.heartbeat_interval_seconds = 99;
    bench.write(Ok(&newer), 10);
    bench.adopt(&draft, of);
    assert_eq!(observed(&bench), None, "nothing is said of the newer one");
    let Settled::Draft(draft, of) = bench.judge(12) else {
        panic!("not drafted")
    };
    let unstored = Refusal {
        reason: Reason::LedgerUnavailable,
        ..broken()
    };
    let key = bench.world.profile.clone();
    bench.catalog.refuse(&key, unstored);
    assert_eq!(
        observed(&bench),
        Some(11),
        "it was judged, and this became of it"
    );
    bench.adopt(&draft, of);
    let state = bench.catalog.get(&key).unwrap();
    assert_eq!(
        (state.resolved_generation, &state.refusal),
        (Some(11), &None)
    );
    // One that is refused is observed at once.
    bench.write(Err(broken()), 20);
    bench.settle(22, false);
    assert_eq!(observed(&bench), Some(21));
}

#[test]
fn law3_verification_is_switched_off_only_where_policy_allows_it() {
    for allowed in [false, true] {
        let mut bench = Bench::with(Policy {
            insecure_skip_verify: allowed,
        });
        bench.world.without_certificate();
        bench.world.spec.opamp.tls.ca_bundle_ref = None;
        bench.world.spec.opamp.tls.insecure_skip_verify = true;
        bench.write(Ok(&bench.world.spec.clone()), 0);
        bench.settle(2, false);
        assert_eq!(bench.number(), u64::from(allowed));
        assert_eq!(bench.selects("a", true), allowed);
        let state = bench.catalog.get(&bench.world.profile).unwrap();
        let status = summarize(state, &[], &Overlap::default(), &Rollout::default(), at(3));
        let accepted = status.conditions.iter().find(|c| c.type_ == "Accepted");
        let accepted = accepted.unwrap();
        let (holds, reason) = if allowed {
            ("True", Reason::InsecureAllowed)
        } else {
            ("False", Reason::InsecureNotAllowed)
        };
        assert_eq!(
            (&*accepted.status, &*accepted.reason),
            (holds, reason.as_str())
        );
        let message = &accepted.message;
        assert!(
            message.contains("`opamp.tls.insecureSkipVerify`"),
            "{message}"
        );
        let told = events(&OpAMPConnectionProfileStatus::default(), &status);
        let warned = told.iter().any(|event| {
            severity(event.reason) == Some(Severity::Warning) && event.reason == reason
        });
        assert!(warned, "{told:?}");
        assert_eq!(events(&status, &status), []);
    }
}

/// How long a rotation took counts from the change that it was made for, as far
/// as that was seen.
#[test]
fn a_revision_knows_since_when_it_was_due() {
    let mut bench = Bench::new();
    let key = bench.world.profile.clone();
    let changed = |bench: &Bench| {
        let state = bench.catalog.get(&key).unwrap();
        state.current.as_ref().unwrap().changed()
    };
    let token = |bench: &mut Bench, token: &str, seconds| {
        bench.world.secret("token", opaque(&[("token", token)]));
        let object = ObjectRef::secret(key.namespace.clone(), "token");
        let observed = bench.world.objects[&object].clone();
        bench.catalog.set_object(&object, observed, at(seconds));
    };
    let spec = bench.world.spec.clone();
    bench.write(Ok(&spec), 0);
    bench.settle(2, true);
    assert_eq!(changed(&bench), None, "it may be so for long");
    // The first of several that came to one.
    token(&mut bench, "0123456789abcdef0123456789abcde2", 10);
    token(&mut bench, "0123456789abcdef0123456789abcde3", 11);
    bench.settle(12, true);
    assert_eq!(changed(&bench), Some(at(10).uptime));
    // Judged again before it is in force: another try is no other change.
    token(&mut bench, "0123456789abcdef0123456789abcde4", 20);
    assert!(matches!(bench.judge(22), Settled::Draft(..)));
    let Settled::Draft(draft, of) = bench.judge(30) else {
        panic!("no draft");
    };
    bench.adopt(&draft, of);
    assert_eq!(changed(&bench), Some(at(20).uptime));
    // What makes no revision, or is refused, is forgotten.
    bench.write(Ok(&spec), 40);
    bench.settle(42, true);
    token(&mut bench, "", 50);
    bench.settle(52, true);
    assert_eq!(changed(&bench), Some(at(20).uptime));
    token(&mut bench, "0123456789abcdef0123456789abcde5", 60);
    bench.settle(62, true);
    assert_eq!(changed(&bench), Some(at(60).uptime));
    // The same settings under another number are as old.
    let number = bench.number() + 1;
    let none = std::collections::BTreeSet::new();
    bench.catalog.renumber(&key, number, none, at(70).wall);
    assert_eq!(changed(&bench), Some(at(60).uptime));
}
