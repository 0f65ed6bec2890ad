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
        tokio::spawn(controller.run(CancellationToken::new()));
        Self {
            hub,
            plug,
            objects,
            ledger: Vec::new(),
            statuses: BTreeMap::new(),
            ready,
            writes: 0,
            events: Vec::new(),
        }
    }

    async fn observe(&self, observation: Observation) {
        self.plug.observations.send(observation).await.unwrap();
    }

    async fn write(&self, name: &str, generation: i64, paused: bool) {
        let stored = Stored {
            generation,
            uid: None,
            spec: Ok(Arc::new(spec(paused))),
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
                    for object in wanted.keys() {
                        self.tell(object).await;
                    }
                }
                report = self.plug.reports.recv() => match report.unwrap() {
                    Report::Ledger(entry, answer) => self.ledger.push((*entry, answer)),
                    Report::Profile { key, status, events, .. } => {
                        let events = events.into_iter();
                        self.events.extend(events.map(|event| (key.name.clone(), event)));
                        self.statuses.insert(key, *status);
                        self.writes += 1;
                    }
                    _ => {}
                },
                () = tokio::time::sleep_until(end) => return,
            }
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
