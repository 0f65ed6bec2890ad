//! Settings to offer.

use std::{collections::BTreeMap, sync::Arc};

use opamp_operator::hub::{Hub, Unknown};
use opamp_operator_api::{
    OFFERABLE_LABEL, ObjectRef, ProfileKey,
    v1alpha1::{
        AgentSelector, BundleKind, CABundleRef, CertificateSource, ClientCertificate,
        Compatibility, HeaderSetting, HeaderValueSource, OpAMPConnectionProfileSpec, OpAMPSettings,
        SecretKeyRef, ServedBy, ServerTrust, SystemCAs,
    },
};
use opamp_operator_core::{
    Now,
    catalog::{Bound, Candidate, Target},
    identity::{KeyRing, Ledger, LedgerEntry, Trust},
    offer::{Context, Object, Observed, Outcome, Revision, Serving, resolve},
};

/// What is offered; more than 128 bits.
pub(crate) const OFFERED: &str = "q0Zr7XvLkT2mWn8Yc4HsJ9dPfE6aUg3iBoR1tNxKyVw";

pub(crate) fn profile() -> ProfileKey {
    ProfileKey::new("default", "agents")
}

/// Selects every agent of its namespace.
pub(crate) fn candidate() -> Candidate {
    Candidate {
        profile: profile(),
        priority: 0,
        admin: false,
        selector: Arc::new(AgentSelector::default()),
    }
}

/// A bearer token, open to everyone.
pub(crate) fn target(now: Now) -> Target {
    with_bundle(1, now)
}

/// The same with as large a bundle of CAs.
pub(crate) fn with_bundle(copies: usize, now: Now) -> Target {
    let mut offers = Offers::new(now);
    let bundle = [("ca.crt".to_owned(), offers.ca.repeat(copies).into_bytes())];
    let bundle = Observed::Present(Arc::new(Object::new("", None, bundle, None)));
    let name = ObjectRef::config_map("default", "ca");
    offers.objects.insert(name, bundle);
    offers.target(1, |_| {})
}

/// Makes revisions of one profile, whose objects are good.
pub(crate) struct Offers {
    now: Now,
    pub(crate) ca: String,
    serving: Serving,
    objects: BTreeMap<ObjectRef, Observed>,
}

impl Offers {
    /// A token in Secret `token`, a bundle in ConfigMap `ca`.
    pub(crate) fn new(now: Now) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let ca = ca.self_signed(&key).unwrap().pem();
        let serving = Serving::read(ca.as_bytes(), key.serialize_pem().as_bytes(), now).unwrap();
        let bundle = [("ca.crt".to_owned(), ca.clone().into_bytes())];
        let bundle = Observed::Present(Arc::new(Object::new("", None, bundle, None)));
        let mut offers = Self {
            now,
            ca,
            serving,
            objects: BTreeMap::from([(ObjectRef::config_map("default", "ca"), bundle)]),
        };
        offers.secret("token", "Opaque", &[("token", OFFERED)]);
        offers
    }

    /// Writes a Secret that may be offered.
    pub(crate) fn secret(&mut self, name: &str, type_: &str, data: &[(&str, &str)]) {
        let labels = BTreeMap::from([(OFFERABLE_LABEL.to_owned(), "true".to_owned())]);
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()));
        let object = Object::new(type_, Some(&labels), data, None);
        let observed = Observed::Present(Arc::new(object));
        self.objects
            .insert(ObjectRef::secret("default", name), observed);
    }

    /// A revision, open to everyone.
    pub(crate) fn target(
        &self,
        number: u64,
        edit: impl FnOnce(&mut OpAMPConnectionProfileSpec),
    ) -> Target {
        self.published(number, edit).0
    }

    /// A revision, and what the ledger says of it.
    pub(crate) fn published(
        &self,
        number: u64,
        edit: impl FnOnce(&mut OpAMPConnectionProfileSpec),
    ) -> (Target, LedgerEntry) {
        let mut spec = spec();
        edit(&mut spec);
        let keys = KeyRing::new(vec![[1; 32]]).unwrap();
        let absent = Observed::Absent;
        let resolution = resolve(
            &profile(),
            &spec,
            None,
            |object| self.objects.get(object).unwrap_or(&absent),
            &Context {
                advertised_url: &"wss://localhost/v1/opamp".parse().unwrap(),
                path: "/v1/opamp",
                serving: Some(&self.serving),
                trust: &Trust::new(Vec::new(), keys.clone(), &Ledger::default()),
                keys: &keys,
            },
            self.now,
        );
        let Outcome::Resolved(draft) = resolution.outcome else {
            panic!("not resolved: {:?}", resolution.outcome);
        };
        let entry = draft.ledger_entry(number, self.now.wall);
        let target = Target {
            current: Arc::new(Revision::new(*draft, number)),
            previous: None,
            bound: Bound::Everyone,
            paused: false,
        };
        (target, entry)
    }
}

/// Publishes a target of the profile that selects everybody.
pub(crate) fn publish(hub: &Hub, target: Target) {
    hub.book
        .publish_candidates(vec![candidate()], Unknown::default());
    hub.book.publish_target(&profile(), Some(target));
}

fn spec() -> OpAMPConnectionProfileSpec {
    OpAMPConnectionProfileSpec {
        agent_selector: AgentSelector::default(),
        priority: 0,
        paused: false,
        opamp: OpAMPSettings {
            endpoint: None,
            served_by: ServedBy::Operator,
            compatibility: Compatibility::Universal,
            heartbeat_interval_seconds: 30,
            headers: vec![HeaderSetting {
                name: "Authorization".into(),
                value: None,
                value_from: Some(HeaderValueSource {
                    secret_key_ref: SecretKeyRef {
                        name: "token".into(),
                        key: "token".into(),
                    },
                    prefix: Some("Bearer ".into()),
                }),
            }],
            client_certificate: ClientCertificate {
                source: CertificateSource::None,
                secret_ref: None,
            },
            tls: ServerTrust {
                ca_bundle_ref: Some(CABundleRef {
                    kind: BundleKind::ConfigMap,
                    name: "ca".into(),
                    key: "ca.crt".into(),
                }),
                system_cas: SystemCAs::Exclude,
                ..ServerTrust::default()
            },
            proxy: None,
        },
        own_telemetry: None,
        other_connections: Vec::new(),
    }
}
