//! Every reason comes of a situation, and is shown where it says it is.

use std::{collections::BTreeMap, sync::Arc};

use opamp_operator_api::{
    condition::ConditionStatus,
    reason::{ConditionType, Reason},
    v1alpha1::OpAMPConnectionProfileStatus,
    values::{ObjectRef, ProfileKey},
};
use opamp_operator_core::{
    catalog::Settled,
    fleet::{AgentRecord, Evidence, Proved, SettingsState, Transport},
    identity::Presented,
    offer::{Object, Observed, Refusal},
    rollout::Rollout,
    status::{Overlap, Taken, events, summarize},
};
use rcgen::ExtendedKeyUsagePurpose;

use crate::common::{Bench, Ca, Issue, STRONG_TOKEN, World, at, opaque, tls_secret, uid};

/// What a profile says when something is the matter.
#[derive(Default)]
struct Situation {
    /// Outside the profile and its objects.
    outside: Option<Refusal>,
    held_back: bool,
    agents: Vec<AgentRecord>,
    rollout: Rollout,
    overlap: Overlap,
}

impl Situation {
    fn status(self, world: &World) -> OpAMPConnectionProfileStatus {
        let (mut catalog, settled) = world.settle();
        if let Settled::Draft(_, spec) = settled {
            catalog.adopt(world.revision(1), spec, at(0).wall, true);
        }
        let key = &world.profile;
        if let Some(refusal) = self.outside {
            catalog.refuse(key, refusal);
        }
        if self.held_back {
            let held = BTreeMap::from([(key.clone(), "held back".to_owned())]);
            assert_eq!(catalog.hold_serving_back(&held), std::slice::from_ref(key));
        }
        let state = catalog.get(key).unwrap();
        summarize(state, &self.agents, &self.overlap, &self.rollout, at(200))
    }
}

/// The profile, or what it names, is changed.
fn change(change: impl FnOnce(&mut World)) -> OpAMPConnectionProfileStatus {
    let mut world = World::new();
    change(&mut world);
    Situation::default().status(&world)
}

fn client(issue: &Issue<'_>) -> OpAMPConnectionProfileStatus {
    change(|world| {
        let pair = world.client_ca.issue(issue);
        world.secret("client", tls_secret(&pair.crt, &pair.key));
    })
}

fn bundle(text: String) -> OpAMPConnectionProfileStatus {
    let data = [("ca.crt".to_owned(), text.into_bytes())];
    change(|world| world.bundle(Object::new("", None, data, None)))
}

fn token(observed: Observed) -> OpAMPConnectionProfileStatus {
    change(|world| {
        let name = ObjectRef::secret("a", "token");
        drop(world.objects.insert(name, observed));
    })
}

fn secret(object: Object) -> OpAMPConnectionProfileStatus {
    token(Observed::Present(Arc::new(object)))
}

fn outside(reason: Reason) -> OpAMPConnectionProfileStatus {
    let refusal = Refusal {
        condition: ConditionType::Accepted,
        reason,
        message: "why".into(),
    };
    let situation = Situation {
        outside: Some(refusal),
        ..Situation::default()
    };
    situation.status(&World::new())
}

/// One agent, connected, that is in this state with the first revision.
fn agent(state: SettingsState) -> AgentRecord {
    let world = World::new();
    let mut bench = Bench::new(world.revision(1));
    assert!(bench.come(Presented::default(), 0).1.offers());
    let proved = (state == SettingsState::Applied).then(|| Proved {
        profile: world.profile.clone(),
        number: 1,
        evidence: Evidence::SettingsHeader,
        at: at(1).wall,
    });
    AgentRecord {
        profile: Some(world.profile),
        connected: Some(Transport::WebSocket),
        state,
        proved,
        ..bench.agent.record()
    }
}

fn agents(agents: Vec<AgentRecord>) -> OpAMPConnectionProfileStatus {
    let situation = Situation {
        agents,
        ..Situation::default()
    };
    situation.status(&World::new())
}

/// One agent, of this profile, that others select as well.
fn overlap(winner: &str, overridden: &[&str]) -> OpAMPConnectionProfileStatus {
    let world = World::new();
    let key = |name: &str| ProfileKey::new("a", name);
    let overridden: Vec<_> = overridden.iter().map(|name| key(name)).collect();
    let mut overlap = Overlap::default();
    overlap.add(&world.profile, &key(winner), &overridden);
    let situation = Situation {
        overlap,
        ..Situation::default()
    };
    situation.status(&world)
}

#[expect(clippy::too_many_lines, reason = "one situation after the other")]
fn situations() -> Vec<(Reason, OpAMPConnectionProfileStatus)> {
    let World { client: pair, .. } = World::new();
    let certificate = tls_secret(&pair.crt, &pair.key);
    let other = Ca::new("clients").issue(&Issue::client());
    let of_pair = |crt: &str, key: &str| {
        let object = tls_secret(crt, key);
        change(|world| world.secret("client", object))
    };
    let pending = || vec![agent(SettingsState::Pending)];
    vec![
        (
            Reason::InsecureNotAllowed,
            change(|world| world.spec.opamp.endpoint = Some("ws://opamp.example.com/".into())),
        ),
        (
            Reason::PolicyDenied,
            change(|world| world.spec.priority = 1_000_001),
        ),
        (
            Reason::WouldLockOut,
            change(|world| world.spec.opamp.endpoint = Some("wss://elsewhere.example.com/".into())),
        ),
        (
            Reason::InvalidSpec,
            change(|world| world.spec.opamp.endpoint = Some("opamp.example.com".into())),
        ),
        (Reason::SecretNotFound, token(Observed::Absent)),
        (
            Reason::ConfigMapNotFound,
            change(|world| {
                let name = ObjectRef::config_map("a", "bundle");
                drop(world.objects.insert(name, Observed::Absent));
            }),
        ),
        (Reason::KeyMissing, secret(opaque(&[]))),
        (Reason::InvalidPEM, bundle("hello".into())),
        (Reason::KeyMismatch, of_pair(&pair.crt, &other.key)),
        (
            Reason::BadChain,
            of_pair(&format!("{}{}", pair.crt, other.crt), &pair.key),
        ),
        (
            Reason::WrongKeyUsage,
            client(&Issue {
                usage: ExtendedKeyUsagePurpose::ServerAuth,
                ..Issue::client()
            }),
        ),
        (
            Reason::SecretNotOptedIn,
            secret(Object {
                offerable: false,
                ..opaque(&[("token", STRONG_TOKEN)])
            }),
        ),
        (
            Reason::SecretTypeRefused,
            secret(Object {
                type_: "helm.sh/release.v1".into(),
                ..certificate
            }),
        ),
        (
            Reason::Forbidden,
            token(Observed::Forbidden("kubectl create role".into())),
        ),
        (
            Reason::InvalidHeaderValue,
            secret(opaque(&[("token", "a\n")])),
        ),
        (
            Reason::OfferTooLarge,
            change(|world| {
                let text = world.ca.pem.repeat(256 * 1024 / world.ca.pem.len());
                let data = [("ca.crt".to_owned(), text.into_bytes())];
                world.bundle(Object::new("", None, data, None));
            }),
        ),
        (
            Reason::Expired,
            client(&Issue {
                to: (2029, 6, 1),
                ..Issue::client()
            }),
        ),
        (
            Reason::NotYetValid,
            client(&Issue {
                from: (2030, 2, 1),
                ..Issue::client()
            }),
        ),
        (Reason::TemporaryCertificate, {
            let temporary = Ca::new("cert-manager.local").issue(&Issue::client());
            of_pair(&temporary.crt, &temporary.key)
        }),
        (
            Reason::ExpiringSoon,
            client(&Issue {
                to: (2030, 1, 2),
                ..Issue::client()
            }),
        ),
        (Reason::ServingCertificateHeldBack, {
            let situation = Situation {
                held_back: true,
                ..Situation::default()
            };
            situation.status(&World::new())
        }),
        (Reason::Paused, {
            let mut world = World::new();
            world.spec.paused = true;
            let situation = Situation {
                agents: pending(),
                ..Situation::default()
            };
            situation.status(&world)
        }),
        (
            Reason::Complete,
            agents(vec![agent(SettingsState::Applied)]),
        ),
        (Reason::RolloutInProgress, agents(pending())),
        (Reason::Halted, {
            let situation = Situation {
                agents: vec![agent(SettingsState::Lost)],
                rollout: Rollout {
                    number: 1,
                    first: Some((uid(1), at(0).uptime)),
                    halted: true,
                    ..Rollout::default()
                },
                ..Situation::default()
            };
            situation.status(&World::new())
        }),
        (Reason::NoAgents, agents(Vec::new())),
        (Reason::Resolved, agents(Vec::new())),
        (Reason::Valid, agents(Vec::new())),
        (Reason::Accepted, agents(Vec::new())),
        (
            Reason::InsecureAllowed,
            change(|world| {
                world.policy.insecure_skip_verify = true;
                world.without_certificate();
                world.spec.opamp.tls.ca_bundle_ref = None;
                world.spec.opamp.tls.insecure_skip_verify = true;
            }),
        ),
        (
            Reason::LedgerUnavailable,
            outside(Reason::LedgerUnavailable),
        ),
        (Reason::HashKeyLost, outside(Reason::HashKeyLost)),
        (
            Reason::AgentsFailed,
            agents(vec![agent(SettingsState::Failed)]),
        ),
        (Reason::AgentsLost, agents(vec![agent(SettingsState::Lost)])),
        (Reason::OffersExhausted, {
            let exhausted = AgentRecord {
                exhausted: true,
                ..agent(SettingsState::Pending)
            };
            agents(vec![exhausted])
        }),
        (Reason::RevisionCreated, agents(Vec::new())),
        (Reason::ProfileTookOver, agents(Vec::new())),
        (Reason::NoOverlap, agents(Vec::new())),
        (Reason::TakesPrecedence, overlap("p", &["q"])),
        (Reason::Overridden, overlap("q", &["o", "p"])),
    ]
}

#[test]
fn every_reason_comes_of_a_situation_and_is_shown_where_it_says() {
    let situations = situations();
    for reason in Reason::ALL {
        let mut found = situations.iter().filter(|(of, _)| of == reason);
        let (_, status) = found
            .next()
            .unwrap_or_else(|| panic!("no situation for {reason}"));
        let with_it = status
            .conditions
            .iter()
            .filter(|c| c.reason == reason.as_str());
        // What lies behind a gate that refuses is not judged.
        let judged = with_it.filter(|c| !c.message.starts_with("not judged"));
        let shown: Vec<_> = judged
            .map(|c| (c.type_.as_str(), c.status.as_str()))
            .collect();
        let mut says: Vec<_> = reason.shown().to_vec();
        let order = |(kind, _): &(ConditionType, ConditionStatus)| {
            let mut all = status.conditions.iter();
            all.position(|c| c.type_ == kind.as_str())
        };
        says.sort_by_key(order);
        let says: Vec<_> = says.iter().map(|(k, s)| (k.as_str(), s.as_str())).collect();
        assert_eq!(shown, says, "{reason}: {status:#?}");
        if says.is_empty() {
            let mut told = events(&OpAMPConnectionProfileStatus::default(), status);
            let mut taken = Taken::default();
            taken.add(uid(1));
            told.push(taken.event(&ProfileKey::new("a", "q"), Some(1)));
            assert!(told.iter().any(|event| event.reason == *reason), "{reason}");
        }
        for condition in &status.conditions {
            assert!(!condition.message.is_empty(), "{condition:?}");
            assert_eq!(condition.observed_generation, Some(1));
        }
    }
}

/// Once judged, every condition has a word on every profile.
#[test]
fn every_condition_is_always_there() {
    for (reason, status) in situations() {
        for kind in ConditionType::ALL {
            let mut all = status.conditions.iter();
            assert!(all.any(|c| c.type_ == kind.as_str()), "{reason}: no {kind}");
        }
    }
}
