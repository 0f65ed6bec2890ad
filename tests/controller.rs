//! The controller between a backend and a hub that the test holds: what comes
//! of observations, of answers that come late or never, and of what an earlier
//! process left. Time is paused.
#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use opamp_operator::{
    backend::{Memory, Observation, Plug, Report, StoreError, pipe},
    config::Authentication,
    controller::{Controller, Setup},
    hub::{Clock, Hub, Reviews, Roster},
};
use opamp_operator_api::{
    Identity, IdentityMethod, OFFERABLE_LABEL, ObjectRef, ProfileKey,
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus, ServedBy},
};
use opamp_operator_core::{
    catalog::{AuthenticatorSource, Policy, Settings, SourceKind, Stored, Target},
    fleet::{Agent, AgentRecord},
    identity::{Bearer, KeyRing, LedgerEntry, Presented, Proof, Recognition},
    offer::{Object, Observed},
    status::ProfileEvent,
};
use opamp_wire::InstanceUid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
#[path = "controller/lead.rs"]
mod lead;

#[cfg(test)]
#[path = "controller/statuses.rs"]
mod statuses;

fn generate() -> KeyPair {
    KeyPair::generate().unwrap()
}

const BOOTSTRAP: &str = "bootstrap-token-of-the-fleet";

/// A Secret of which nothing is ever told.
const UNTOLD: &str = "untold";

struct Bench {
    hub: Arc<Hub>,
    plug: Plug,
    objects: BTreeMap<ObjectRef, Object>,
    ledger: Vec<(
        LedgerEntry,
        oneshot::Sender<Result<LedgerEntry, StoreError>>,
    )>,
    statuses: BTreeMap<ProfileKey, OpAMPConnectionProfileStatus>,
    ready: watch::Receiver<bool>,
    closing: CancellationToken,
    forgotten: Vec<(String, InstanceUid)>,
    writes: usize,
    events: Vec<(String, ProfileEvent)>,
}

fn object(label: bool, key: &str, value: &str) -> Object {
    let labels = label.then(|| [(OFFERABLE_LABEL.to_owned(), "true".to_owned())].into());
    let data = [(key.to_owned(), value.as_bytes().to_vec())];
    Object::new("Opaque", labels.as_ref(), data, None)
}

fn spec(paused: bool) -> OpAMPConnectionProfileSpec {
    serde_json::from_value(serde_json::json!({
        "agentSelector": {},
        "paused": paused,
        "opamp": {
            "headers": [{"name": "Authorization", "valueFrom": {
                "prefix": "Bearer ", "secretKeyRef": {"name": "token", "key": "token"}}}],
            "clientCertificate": {"source": "None"},
            "tls": {"caBundleRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}},
        },
    }))
    .unwrap()
}

fn profile(name: &str) -> ProfileKey {
    ProfileKey::new("a", name)
}

impl Bench {
    fn new(key_lost: Option<String>) -> Self {
        Self::after(key_lost, Vec::new(), Vec::new())
    }

    /// With what an earlier process left.
    fn after(key_lost: Option<String>, ledger: Vec<LedgerEntry>, agents: Vec<AgentRecord>) -> Self {
        let (ca_key, key) = (generate(), generate());
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let issuer = Issuer::from_params(&ca, &ca_key);
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let mut serving = object(false, "tls.crt", &certificate.pem());
        let pair = object(false, "tls.key", &key.serialize_pem());
        serving.data.extend(pair.data);
        let objects = BTreeMap::from([
            (ObjectRef::secret("a", "serving"), serving),
            (
                ObjectRef::secret("a", "bootstrap"),
                object(false, "token", BOOTSTRAP),
            ),
            (
                ObjectRef::secret("a", "token"),
                object(true, "token", &"0123456789abcdef".repeat(2)),
            ),
            (
                ObjectRef::config_map("a", "ca"),
                object(false, "ca.crt", &ca_pem),
            ),
        ]);
        let (port, plug) = pipe();
        let leads = Observation::Leads(true);
        plug.observations.try_send(leads).unwrap();
        let hub = Arc::new(Hub::new(
            Roster::new(100, 100),
            Duration::from_secs(15),
            Reviews::new(port.questions.clone(), Duration::from_secs(3600)),
        ));
        let namespaces = ["a", "b"].map(str::to_owned);
        let setup = Setup {
            settings: Settings {
                debounce: Duration::from_secs(2),
                admin_namespaces: ["a".to_owned()].into(),
                policy: Policy::default(),
            },
            advertised_url: "wss://localhost:4320/v1/opamp".parse().unwrap(),
            path: "/v1/opamp".into(),
            namespaces: namespaces.clone().into(),
            serving: ObjectRef::secret("a", "serving"),
            authentication: Authentication {
                authenticators: vec![AuthenticatorSource {
                    name: "bootstrap".into(),
                    kind: SourceKind::AgentToken {
                        object: ObjectRef::secret("a", "bootstrap"),
                    },
                }],
                homes: namespaces.into(),
                anonymous: None,
                deny_list: None,
                retirement: SignedDuration::from_hours(7 * 24),
            },
            reloads: mpsc::channel(1).1,
            first_agent_timeout: Duration::from_secs(120),
        };
        let memory = Memory {
            keys: KeyRing::new(vec![[1; 32]]).unwrap(),
            key_lost,
            ledger,
            agents,
            held: Vec::new(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (readying, ready) = watch::channel(false);
        let controller = Controller::new(Arc::clone(&hub), port, setup, memory, provider, readying);
        let closing = CancellationToken::new();
        tokio::spawn(controller.run(closing.clone()));
        Self {
            hub,
            plug,
            objects,
            ledger: Vec::new(),
            statuses: BTreeMap::new(),
            ready,
            closing,
            forgotten: Vec::new(),
            writes: 0,
            events: Vec::new(),
        }
    }

    async fn observe(&self, observation: Observation) {
        self.plug.observations.send(observation).await.unwrap();
    }

    async fn write(&self, name: &str, generation: i64, paused: bool) {
        self.write_spec(name, generation, spec(paused)).await;
    }

    async fn write_spec(&self, name: &str, generation: i64, spec: OpAMPConnectionProfileSpec) {
        let stored = Stored {
            generation,
            uid: None,
            spec: Ok(Arc::new(spec)),
            status: OpAMPConnectionProfileStatus::default(),
        };
        self.observe(Observation::Profile(profile(name), Some(Box::new(stored))))
            .await;
    }

    async fn list(&self) {
        for namespace in ["a", "b"] {
            self.observe(Observation::Listed(namespace.into())).await;
        }
    }

    /// Tells an object as it is now.
    async fn tell(&self, object: &ObjectRef) {
        let ticket = self.plug.wanted.borrow().get(object).copied().unwrap();
        let observed = self.objects.get(object).cloned();
        let observed = observed.map_or(Observed::Absent, |o| Observed::Present(Arc::new(o)));
        self.observe(Observation::Object(object.clone(), ticket, observed))
            .await;
    }

    /// Lets time pass as a backend that tells what is wanted, and keeps what is
    /// reported.
    async fn pass(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                changed = self.plug.wanted.changed() => {
                    changed.unwrap();
                    let wanted = self.plug.wanted.borrow_and_update().clone();
                    for object in wanted.keys().filter(|object| object.name != UNTOLD) {
                        self.tell(object).await;
                    }
                }
                report = self.plug.reports.recv() => self.keep(report.unwrap()),
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }

    fn keep(&mut self, report: Report) {
        match report {
            Report::Ledger(entry, answer) => self.ledger.push((*entry, answer)),
            Report::Profile {
                key,
                status,
                events,
                ..
            } => {
                let events = events.into_iter();
                self.events
                    .extend(events.map(|event| (key.name.clone(), event)));
                self.statuses.insert(key, *status);
                self.writes += 1;
            }
            Report::ForgetAgents(agents) => self.forgotten.extend(agents),
            _ => {}
        }
    }

    /// Ends the controller, and keeps what it reports at last.
    async fn end(&mut self) {
        self.closing.cancel();
        while let Some(report) = self.plug.reports.recv().await {
            self.keep(report);
        }
    }

    async fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds)).await;
    }

    /// Answers the oldest ledger entry.
    fn store(
        &mut self,
        answer: impl FnOnce(LedgerEntry) -> Result<LedgerEntry, StoreError>,
    ) -> u64 {
        let (entry, done) = self.ledger.remove(0);
        let number = entry.number;
        done.send(answer(entry)).unwrap();
        number
    }

    fn target(&self, name: &str) -> Option<Arc<Target>> {
        self.hub.book.target(&profile(name)).borrow().clone()
    }

    fn reason(&self, name: &str, condition: &str) -> Option<String> {
        let status = self.statuses.get(&profile(name))?;
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|found| found.type_ == condition)?;
        Some(format!("{} {}", found.status, found.reason))
    }

    fn proof(&self, token: &str) -> Option<Proof> {
        let header = format!("Bearer {token}");
        let presented = Presented::new(Vec::new(), Some(header.as_bytes()), None);
        let trust = self.hub.trust.borrow().clone()?;
        Some(trust.verify(&presented, &Bearer::Nobody, self.hub.clock.now()))
    }
}

#[tokio::test(start_paused = true)]
async fn law9_no_profile_waits_for_the_ledger_entry_of_another() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.write("q", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    let at = bench
        .ledger
        .iter()
        .position(|(entry, _)| entry.profile == profile("q"));
    bench.ledger.swap(0, at.unwrap());
    bench.store(Ok);
    bench.seconds(2).await;
    assert!(bench.target("q").is_some() && bench.target("p").is_none());
    // No answer: nothing is offered, and the status says so.
    bench.seconds(62).await;
    let why = bench.reason("p", "Accepted");
    assert_eq!(why.as_deref(), Some("False LedgerUnavailable"));
    assert!(bench.target("p").is_none());
    // It is tried again, and comes into force.
    bench.ledger.remove(0);
    assert_eq!(bench.store(Ok), 1);
    bench.seconds(2).await;
    assert!(bench.target("p").is_some());
    let why = bench.reason("p", "Accepted");
    assert_eq!(why.as_deref(), Some("True Accepted"));
}

/// While its ledger entry is on its way an edit may be taken back, or another
/// may follow that is refused, or good.
#[tokio::test(start_paused = true)]
async fn law9_only_what_is_still_meant_comes_into_force() {
    let heartbeat = |seconds: u32| {
        let mut spec = spec(false);
        spec.opamp.heartbeat_interval_seconds = seconds;
        spec
    };
    let mut misspelt = spec(false);
    misspelt.opamp.tls.ca_bundle_ref.as_mut().unwrap().name = "misspelt".into();
    for (next, judged, numbers, accepted) in [
        (heartbeat(30), true, [1, 3], "True Resolved"),
        (heartbeat(30), false, [1, 3], "True Resolved"),
        (misspelt, true, [1, 3], "False ConfigMapNotFound"),
        (heartbeat(50), true, [1, 3], "True Resolved"),
    ] {
        let mut bench = Bench::new(None);
        bench.write("p", 1, false).await;
        bench.list().await;
        bench.seconds(5).await;
        assert_eq!(bench.store(Ok), 1);
        bench.seconds(3).await;
        let first = bench.target("p").unwrap().current.marker();

        bench.write_spec("p", 2, heartbeat(40)).await;
        bench.seconds(3).await;
        bench.write_spec("p", 3, next.clone()).await;
        bench.seconds(if judged { 3 } else { 0 }).await;
        assert_eq!(bench.store(Ok), 2);
        bench.seconds(4).await;
        let current = bench.target("p").unwrap().current.clone();
        assert_eq!((current.number(), current.marker()), (numbers[0], first));
        // What is meant is the newest: the next edit, or what is in force.
        let is_first = bench.ledger[0].0.marker == first;
        assert_eq!(is_first, next != heartbeat(50));
        assert_eq!(bench.store(Ok), numbers[1], "it had its turn");
        bench.seconds(2).await;
        let target = bench.target("p").unwrap();
        assert_eq!(target.current.number(), numbers[1]);
        assert_eq!(target.current.marker() == first, is_first);
        assert!(!target.paused && bench.ledger.is_empty());
        assert_eq!(bench.reason("p", "ResolvedRefs").as_deref(), Some(accepted));
        let observed = bench.statuses[&profile("p")].observed_generation;
        assert_eq!(observed, Some(3));
    }
}

/// The answer for a profile that was deleted says nothing of the one that has
/// its name now.
#[tokio::test(start_paused = true)]
async fn law8_an_answer_belongs_to_what_was_asked_for() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    bench
        .observe(Observation::Profile(profile("p"), None))
        .await;
    bench.seconds(5).await;
    let mut other = spec(false);
    other.opamp.heartbeat_interval_seconds = 40;
    bench.write_spec("p", 1, other).await;
    bench.seconds(5).await;
    let second = bench.ledger[1].0.clone();
    assert_eq!(bench.ledger[0].0.number, second.number);
    let first = bench.ledger[0].0.clone();
    assert_ne!(first.marker, second.marker);
    bench.store(Ok);
    bench.seconds(3).await;
    assert!(bench.target("p").is_none());
    bench.store(|_| Err(StoreError::Taken(Box::new(first))));
    bench.seconds(3).await;
    assert_eq!(bench.store(Ok), 2);
    bench.seconds(3).await;
    let current = bench.target("p").unwrap().current.clone();
    assert_eq!((current.number(), current.marker()), (2, second.marker));
}

/// What could not be stored, and is known to be stored all the same, is not
/// said of the next.
#[tokio::test(start_paused = true)]
async fn law9_a_ledger_that_was_mended_is_not_complained_of() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    assert_eq!(bench.store(Ok), 1);
    let edit = |seconds: u32| {
        let mut spec = spec(false);
        spec.opamp.heartbeat_interval_seconds = seconds;
        spec
    };
    bench.write_spec("p", 2, edit(40)).await;
    bench.seconds(5).await;
    let failed = |_| Err(StoreError::Failed("no answer".into()));
    assert_eq!(bench.store(failed), 2);
    bench.seconds(2).await;
    let why = bench.reason("p", "Accepted");
    assert_eq!(why.as_deref(), Some("False LedgerUnavailable"));
    // It is taken back before it is tried again; later there is another.
    bench.write("p", 3, false).await;
    bench.seconds(10).await;
    assert!(bench.ledger.is_empty());
    bench.write_spec("p", 4, edit(50)).await;
    bench.seconds(5).await;
    assert_eq!(bench.ledger.len(), 1);
    let why = bench.reason("p", "Accepted");
    assert_eq!(why.as_deref(), Some("True Accepted"));
}

#[tokio::test(start_paused = true)]
async fn law8_a_number_that_is_taken_is_not_used_again() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    let others = KeyRing::new(vec![[9; 32]]).unwrap();
    let taken = |entry: LedgerEntry| {
        let marker = others.sign("another", b"revision");
        Err(StoreError::Taken(Box::new(LedgerEntry { marker, ..entry })))
    };
    assert_eq!(bench.store(taken), 1);
    bench.seconds(2).await;
    assert_eq!(bench.store(Ok), 2);
    bench.seconds(2).await;
    assert_eq!(bench.target("p").unwrap().current.number(), 2);
}

#[tokio::test(start_paused = true)]
async fn law8_without_the_key_nothing_is_offered_and_agents_are_judged() {
    let mut bench = Bench::new(Some("restore it".into()));
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    let why = bench.reason("p", "Accepted");
    assert_eq!(why.as_deref(), Some("False HashKeyLost"));
    assert!(bench.target("p").is_none() && bench.ledger.is_empty());
    assert!(matches!(bench.proof(BOOTSTRAP), Some(Proof::Proved(_))));
}

#[tokio::test(start_paused = true)]
async fn law9_a_token_secret_that_breaks_or_goes_refuses_nobody_it_knew() {
    let mut bench = Bench::new(None);
    bench.list().await;
    bench.seconds(1).await;
    let secret = ObjectRef::secret("a", "bootstrap");
    assert!(matches!(bench.proof(BOOTSTRAP), Some(Proof::Proved(_))));
    let broken = object(false, "token", "short");
    for replacement in [Some(broken), None] {
        bench.objects.remove(&secret);
        bench
            .objects
            .extend(replacement.map(|object| (secret.clone(), object)));
        bench.tell(&secret).await;
        bench.seconds(1).await;
        assert!(matches!(bench.proof(BOOTSTRAP), Some(Proof::Proved(_))));
    }
    // One that was never there cannot say no.
    let mut bench = Bench::new(None);
    bench.objects.remove(&secret);
    bench.list().await;
    bench.seconds(1).await;
    assert_eq!(bench.proof(BOOTSTRAP), Some(Proof::NotYet));
}

#[tokio::test(start_paused = true)]
async fn law4_what_is_offered_stops_and_goes_on_with_its_secret() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    bench.store(Ok);
    bench.seconds(2).await;
    let secret = ObjectRef::secret("a", "token");
    let there = bench.objects.remove(&secret).unwrap();
    for (object, reason) in [
        (None, "False SecretNotFound"),
        (Some(there), "True Resolved"),
    ] {
        let paused = object.is_none();
        bench.objects.extend(object.map(|o| (secret.clone(), o)));
        bench.tell(&secret).await;
        bench.seconds(5).await;
        let target = bench.target("p").unwrap();
        assert_eq!((target.current.number(), target.paused), (1, paused));
        let why = bench.reason("p", "ResolvedRefs");
        assert_eq!(why.as_deref(), Some(reason));
    }
    assert!(bench.ledger.is_empty(), "another revision");
}

#[tokio::test(start_paused = true)]
async fn law8_nobody_chooses_among_profiles_that_are_not_all_known() {
    let mut bench = Bench::new(None);
    bench.observe(Observation::Listed("a".into())).await;
    bench.seconds(1).await;
    assert!(bench.proof(BOOTSTRAP).is_none(), "not all was heard");
    bench.observe(Observation::Unlistable("b".into())).await;
    bench.seconds(1).await;
    assert!(bench.proof(BOOTSTRAP).is_some());
    let known =
        |bench: &Bench, namespace: &str| bench.hub.book.candidates(namespace).borrow().is_some();
    assert!(known(&bench, "a") && !known(&bench, "b"));
    bench.observe(Observation::Listed("b".into())).await;
    bench.seconds(1).await;
    assert!(known(&bench, "b"));
}

/// An agent that nobody serves, as an earlier process left it.
fn remembered(last: u8, days: i64, number: Option<u64>) -> AgentRecord {
    let (uid, clock) = (InstanceUid::from_bytes([last; 16]), Clock::start());
    let mut record = Agent::new(uid, "a", clock.now()).record();
    record.binding = Some(Identity {
        namespace: "a".into(),
        method: IdentityMethod::AgentToken,
        authenticator: "bootstrap".into(),
        subject: "bootstrap".into(),
    });
    record.last_contact -= SignedDuration::from_hours(24 * days);
    let offered = number.map(|number| Recognition {
        profile: profile("p"),
        number,
    });
    record.offered.extend(offered);
    record
}

/// The listener opens with this.
#[tokio::test(start_paused = true)]
async fn law8_nobody_is_let_in_before_all_is_known() {
    let mut bench = Bench::after(None, Vec::new(), vec![remembered(1, 1, None)]);
    let known = |bench: &Bench| {
        bench
            .hub
            .roster
            .record(InstanceUid::from_bytes([1; 16]), "a")
    };
    let binding = known(&bench).unwrap().binding.unwrap();
    assert_eq!(binding.authenticator, "bootstrap");
    let serving = ObjectRef::secret("a", "serving");
    let certificate = bench.objects.remove(&serving).unwrap();
    bench.observe(Observation::Listed("a".into())).await;
    bench.seconds(5).await;
    assert!(!*bench.ready.borrow(), "not all profiles were told");
    bench.observe(Observation::Listed("b".into())).await;
    bench.seconds(5).await;
    assert!(!*bench.ready.borrow(), "there is no serving certificate");
    bench.objects.insert(serving.clone(), certificate);
    bench.tell(&serving).await;
    bench.seconds(5).await;
    assert!(*bench.ready.borrow());
}

/// What was in force is not known after a start: nothing is on its way, and that
/// is not because all have it.
#[tokio::test(start_paused = true)]
async fn law8_a_start_without_the_secret_says_what_the_process_before_said() {
    let mut record = remembered(1, 0, Some(1));
    record.profile = Some(profile("p"));
    let mut bench = Bench::after(None, Vec::new(), vec![record]);
    bench.objects.remove(&ObjectRef::secret("a", "token"));
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    for kind in ["ResolvedRefs", "Ready", "Progressing"] {
        let why = bench.reason("p", kind);
        assert_eq!(why.as_deref(), Some("False SecretNotFound"), "{kind}");
    }
}

/// Until the old one ended nobody could connect any more.
#[tokio::test(start_paused = true)]
async fn law9_an_object_that_is_never_told_holds_no_serving_certificate_back_for_ever() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    bench.store(Ok);
    bench.seconds(2).await;
    bench.refer("q", UNTOLD).await;
    bench.seconds(5).await;
    let mut serving = bench.hub.serving.subscribe();
    serving.mark_unchanged();
    let secret = ObjectRef::secret("a", "serving");
    let renewed = Bench::new(None).objects.remove(&secret).unwrap();
    bench.objects.insert(secret.clone(), renewed);
    bench.tell(&secret).await;
    bench.seconds(50).await;
    assert!(
        !serving.has_changed().unwrap(),
        "nobody knows yet whom it hurts"
    );
    bench.seconds(15).await;
    assert!(serving.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn law10_the_object_of_an_agent_that_gave_way_is_deleted() {
    let mut bench = Bench::after(None, Vec::new(), vec![remembered(1, 1, None)]);
    bench.list().await;
    bench.seconds(5).await;
    let identity = remembered(1, 1, None).binding.unwrap();
    let now = bench.hub.clock.now();
    assert!(bench.hub.roster.make_seat(&identity, now));
    bench.seconds(2).await;
    let uid = InstanceUid::from_bytes([1; 16]);
    assert_eq!(bench.forgotten, [("a".to_owned(), uid)]);
}

/// Also for the three days for which it is let in after its end.
#[tokio::test(start_paused = true)]
async fn law8_h27_agents_are_remembered_for_30_days_and_as_long_as_their_certificate() {
    let wall = Clock::start().now().wall;
    let entry = |number: u64, days: i64| LedgerEntry {
        profile: profile("p"),
        number,
        served_by: ServedBy::Operator,
        marker: KeyRing::new(vec![[1; 32]])
            .unwrap()
            .sign("x", &number.to_be_bytes()),
        leaf: None,
        authorization: None,
        not_after: Some(wall + SignedDuration::from_hours(24 * days)),
        published: wall,
    };
    let agents = [
        (1, 29, None, true),
        (2, 31, None, false),
        (3, 31, Some(1), false),
        (4, 31, Some(2), true),
    ];
    let records = agents.map(|(last, days, number, _)| remembered(last, days, number));
    let ledger = vec![entry(1, -4), entry(2, -2)];
    let mut bench = Bench::after(None, ledger, records.into());
    bench.list().await;
    bench.seconds(5).await;
    for (last, _, _, kept) in agents {
        let uid = InstanceUid::from_bytes([last; 16]);
        let known = bench.hub.roster.record(uid, "a").is_some();
        assert_eq!(known, kept, "agent {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_is_paused_is_paused_at_once() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(5).await;
    bench.store(Ok);
    bench.seconds(2).await;
    assert!(!bench.target("p").unwrap().paused);
    bench.write("p", 2, true).await;
    bench.pass(Duration::from_millis(10)).await;
    assert!(bench.target("p").unwrap().paused);
}

#[tokio::test(start_paused = true)]
async fn law9_an_account_that_is_made_wakes_no_session() {
    let mut bench = Bench::new(None);
    bench.list().await;
    bench.seconds(1).await;
    let judgements = bench.hub.judgement.subscribe();
    let table = [
        (Some("a=1"), true),
        (Some("a=1 b=2"), false),
        // Made anew under its name; then deleted.
        (Some("a=3 b=2"), true),
        (Some("a=3"), true),
        (None, false),
        (Some("a=3"), true),
    ];
    for (known, judged) in table {
        let before = *judgements.borrow();
        let known = known.map(|known| {
            let pairs = known.split(' ').filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, uid)| (name.to_owned(), uid.to_owned()))
                .collect()
        });
        bench
            .observe(Observation::ServiceAccounts("a".into(), known.clone()))
            .await;
        bench.seconds(1).await;
        assert_eq!(*judgements.borrow() != before, judged, "{known:?}");
    }
}
