//! What profiles offer: sets of settings that share some of their credentials,
//! one with a certificate that ends, and the revisions made of them.

use std::sync::{Arc, LazyLock};

use jiff::SignedDuration;
use opamp_operator_api::{
    v1alpha1::{
        AgentSelector, CertificateSource, ClientCertificate, OwnTelemetry, ServedBy, ServerTrust,
        SystemCAs, TelemetryConnection,
    },
    values::{Identity, IdentityMethod, ProfileKey},
};
use opamp_operator_core::{
    Now,
    catalog::{Bound, Candidate, Candidates, Target, candidates},
    identity::{Authenticator, Bearer, Fingerprint, Ledger, Presented, Proof, Trust, Verdict},
    offer::{Draft, Revision},
};
use opamp_wire::OfferBytes;
use rustls_pki_types::CertificateDer;

use crate::{
    common::{Ca, Issue, STRONG_TOKEN, World, decode, opaque, tls_secret},
    steps::{BESIDES, CONTENTS},
};

const BOOTSTRAP: &str = "bootstrap";
const STRANGER: &str = "stranger";
const OTHER_TOKEN: &str = "Zr0qXv7LTk2mnW8Y4cHs9JdPEf6agU3ioB1RNtxKVyw";
pub(crate) const HOME: &str = "a";

pub(crate) struct Content {
    pub(crate) draft: Draft,
    /// The same with all that may stand beside it, nothing first.
    besides: Vec<Draft>,
    token: &'static str,
    leaf: CertificateDer<'static>,
}

static CONTENTS_MADE: LazyLock<(World, Vec<Content>)> = LazyLock::new(|| {
    let mut world = World::new();
    let first = world.client.clone();
    let second = Ca::new("clients").issue(&Issue::client());
    let ends = Ca::new("clients").issue(&Issue {
        to: (2030, 1, 3),
        ..Issue::client()
    });
    let contents = [
        (STRONG_TOKEN, &first, 30),
        (STRONG_TOKEN, &first, 31),
        (OTHER_TOKEN, &first, 30),
        (OTHER_TOKEN, &second, 30),
        (STRONG_TOKEN, &second, 30),
        (STRONG_TOKEN, &ends, 30),
    ];
    let made: Vec<_> = contents
        .into_iter()
        .map(|(token, pair, heartbeat)| {
            world.secret("token", opaque(&[("token", token)]));
            world.secret("client", tls_secret(&pair.crt, &pair.key));
            world.spec.opamp.heartbeat_interval_seconds = heartbeat;
            let beside = |beside: usize| {
                world.spec.own_telemetry = own_telemetry(beside);
                world.draft()
            };
            let besides: Vec<_> = (0..BESIDES).map(beside).collect();
            Content {
                draft: besides[0].clone(),
                besides,
                token,
                leaf: pair.der.clone(),
            }
        })
        .collect();
    assert_eq!(made.len(), CONTENTS);
    (world, made)
});

/// None, two, one of them, and others.
fn own_telemetry(beside: usize) -> Option<OwnTelemetry> {
    let receiver = |path: &str| TelemetryConnection {
        endpoint: format!("https://telemetry.example.com/{path}"),
        headers: Vec::new(),
        client_certificate: ClientCertificate {
            source: CertificateSource::None,
            secret_ref: None,
        },
        tls: ServerTrust {
            system_cas: SystemCAs::Include,
            ..ServerTrust::default()
        },
        proxy: None,
    };
    let (metrics, traces) = match beside {
        0 => return None,
        1 => ("metrics", Some("traces")),
        2 => ("metrics", None),
        _ => ("others", Some("others")),
    };
    Some(OwnTelemetry {
        metrics: Some(receiver(metrics)),
        traces: traces.map(receiver),
        logs: None,
    })
}

pub(crate) fn content(index: usize) -> &'static Content {
    &CONTENTS_MADE.1[index]
}

impl Content {
    /// What an agent that runs it presents.
    pub(crate) fn presented(&self, marked: bool) -> Presented {
        let token = format!("Bearer {}", self.token);
        Presented {
            marker: marked.then_some(self.draft.marker),
            ..Presented::new(vec![self.leaf.clone()], Some(token.as_bytes()), None)
        }
    }

    /// Law 3: the offer holds everything, for agents replace all they have.
    pub(crate) fn complete(&self, offer: &OfferBytes) -> bool {
        let Some(opamp) = decode(offer.clone()).opamp else {
            return false;
        };
        let certificate = opamp.certificate.unwrap_or_default();
        let headers = opamp.headers.unwrap_or_default().headers;
        let has = |value: &str| headers.iter().any(|header| header.value == value);
        !opamp.destination_endpoint.is_empty()
            && opamp.heartbeat_interval_seconds >= 1
            && has(&format!("Bearer {}", self.token))
            && has(&self.draft.marker.to_hex())
            && !certificate.cert.is_empty()
            && !certificate.private_key.is_empty()
            && !certificate.ca_cert.is_empty()
    }
}

pub(crate) fn bootstrap() -> Presented {
    bearer(BOOTSTRAP)
}

pub(crate) fn stranger() -> Presented {
    bearer(STRANGER)
}

fn bearer(token: &str) -> Presented {
    Presented::new(Vec::new(), Some(format!("Bearer {token}").as_bytes()), None)
}

/// Two profiles, what they published, and who may connect.
pub(crate) struct Catalog {
    pub(crate) profiles: [ProfileKey; 2],
    pub(crate) targets: [Option<Target>; 2],
    /// Of the profile that selects the agents.
    pub(crate) selected: usize,
    /// What stands beside its settings for OpAMP.
    beside: usize,
    pub(crate) candidates: Candidates,
    pub(crate) trust: Trust,
    ledger: Ledger,
    admin: bool,
}

impl Catalog {
    pub(crate) fn new(admin: bool) -> Self {
        let home = if admin { "ops" } else { HOME };
        let mut catalog = Self {
            profiles: [ProfileKey::new(home, "p"), ProfileKey::new(HOME, "q")],
            targets: [None, None],
            selected: 0,
            beside: 0,
            candidates: Candidates::default(),
            trust: CONTENTS_MADE.0.trust(&Ledger::default()),
            ledger: Ledger::default(),
            admin,
        };
        catalog.select(0, true);
        catalog
    }

    /// This profile is the best for every agent; the other is gone, or takes
    /// those that may not have it.
    pub(crate) fn select(&mut self, profile: usize, alone: bool) {
        self.selected = profile;
        let candidate = |(i, key): (usize, &ProfileKey)| Candidate {
            profile: key.clone(),
            priority: i32::from(i == profile),
            admin: self.is_admin(key),
            selector: Arc::new(AgentSelector::default()),
        };
        let all: Vec<_> = self.profiles.iter().enumerate().map(candidate).collect();
        let here = all.iter().filter(|c| !alone || c.priority == 1);
        self.candidates = candidates(HOME, here);
    }

    pub(crate) fn is_admin(&self, profile: &ProfileKey) -> bool {
        self.admin && profile.namespace != HOME
    }

    pub(crate) fn profile(&self) -> &ProfileKey {
        &self.profiles[self.selected]
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        self.targets[self.selected].as_ref()
    }

    pub(crate) fn target_of(&self, profile: &ProfileKey) -> Option<&Target> {
        let which = self.profiles.iter().position(|key| key == profile)?;
        self.targets[which].as_ref()
    }

    pub(crate) fn target_mut(&mut self) -> Option<&mut Target> {
        self.targets[self.selected].as_mut()
    }

    pub(crate) fn publish(&mut self, index: usize, external: bool, now: Now) {
        let marker = content(index).draft.marker;
        let same = |r: &Revision| r.marker() == marker && r.is_external() == external;
        if self.target().is_some_and(|t| same(&t.current)) {
            // The same content is no new revision.
            return;
        }
        let mut draft = content(index).besides[self.beside].clone();
        draft.profile = self.profile().clone();
        if external {
            draft.served_by = ServedBy::External;
        }
        let number = self
            .ledger
            .newest(self.profile())
            .map_or(1, |e| e.number + 1);
        self.ledger.put(draft.ledger_entry(number, now.wall));
        let revision = Arc::new(Revision::new(draft, number));
        let slot = &mut self.targets[self.selected];
        let before = slot.take();
        *slot = Some(Target {
            current: revision,
            paused: before.as_ref().is_some_and(|b| b.paused),
            bound: before.as_ref().map_or(Bound::Everyone, |b| b.bound),
            // Nobody goes back to settings for the server of another.
            previous: before.map(|b| b.current).filter(|b| !b.is_external()),
        });
        let token = |name: &str, shown: Presented| {
            Authenticator::token(name, HOME, name, shown.authorization)
        };
        self.trust = Trust::new(
            vec![token(BOOTSTRAP, bootstrap()), token(STRANGER, stranger())],
            CONTENTS_MADE.0.keys.clone(),
            &self.ledger,
        );
    }

    /// The settings for OpAMP stay, and what stands beside them does not.
    pub(crate) fn beside(&mut self, beside: usize) {
        self.beside = beside;
        let profile = self.profile().clone();
        let Some(target) = self.target_mut() else {
            return;
        };
        let marker = target.current.marker();
        let which = (0..CONTENTS).find(|i| content(*i).draft.marker == marker);
        let mut draft = content(which.unwrap()).besides[beside].clone();
        draft.profile = profile;
        draft.served_by = if target.current.is_external() {
            ServedBy::External
        } else {
            ServedBy::Operator
        };
        target.current = Arc::new(Revision::new(draft, target.current.number()));
    }

    /// Law 8: who shows what it was given is known, for three days after the
    /// end of its certificate; none then.
    pub(crate) fn verify(
        &self,
        presented: &Presented,
        now: Now,
    ) -> Result<Option<Verdict>, String> {
        let alone = presented.authorization.is_none();
        let end = presented.not_after().filter(|_| alone);
        let over = end.is_some_and(|end| end + SignedDuration::from_hours(72) <= now.wall);
        match self.trust.verify(presented, &Bearer::Nobody, now) {
            Proof::Proved(_) if over => Err("law 2: known after its end".into()),
            Proof::Proved(verdict) => Ok(Some(verdict)),
            Proof::Refused if over => Ok(None),
            other => Err(format!("law 8: not known any more: {other:?}")),
        }
    }
}

/// Everybody that comes with the bootstrap token is this.
pub(crate) fn owner() -> Identity {
    Identity {
        namespace: HOME.into(),
        method: IdentityMethod::AgentToken,
        authenticator: BOOTSTRAP.into(),
        subject: BOOTSTRAP.into(),
    }
}

/// What a link must show of its own to prove `revision` by a credential.
pub(crate) fn credentials(revision: &Revision) -> (Option<Fingerprint>, Option<Fingerprint>) {
    let credential = revision.credential();
    (credential.leaf, credential.authorization)
}
