//! Settings to offer.

use std::{collections::BTreeMap, sync::Arc};

use opamp_operator_api::{
    OFFERABLE_LABEL, ObjectRef, ProfileKey,
    v1alpha1::{
        AgentSelector, BundleKind, CABundleRef, CertificateSource, ClientCertificate,
        Compatibility, HeaderSetting, HeaderValueSource, OpAMPConnectionProfileSpec, OpAMPSettings,
        SecretKeyRef, ServerTrust, SystemCAs,
    },
};
use opamp_operator_core::{
    Now,
    catalog::{Bound, Candidate, Target},
    identity::{KeyRing, Ledger, Trust},
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
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let ca = ca.self_signed(&key).unwrap().pem();
    let serving = Serving::read(ca.as_bytes(), key.serialize_pem().as_bytes(), now).unwrap();
    let labels = BTreeMap::from([(OFFERABLE_LABEL.to_owned(), "true".to_owned())]);
    let token = [("token".to_owned(), OFFERED.into())];
    let secret = Observed::Present(Arc::new(Object::new("Opaque", Some(&labels), token, None)));
    let ca = [("ca.crt".to_owned(), ca.into_bytes())];
    let bundle = Observed::Present(Arc::new(Object::new("", None, ca, None)));
    let token = ObjectRef::secret("default", "token");
    let keys = KeyRing::new(vec![[1; 32]]).unwrap();
    let resolution = resolve(
        &profile(),
        &spec(),
        |object| if *object == token { &secret } else { &bundle },
        &Context {
            advertised_url: &"wss://localhost/v1/opamp".parse().unwrap(),
            path: "/v1/opamp",
            serving: Some(&serving),
            trust: &Trust::new(Vec::new(), keys.clone(), &Ledger::default()),
            keys: &keys,
        },
        now,
    );
    let Outcome::Resolved(draft) = resolution.outcome else {
        panic!("not resolved: {:?}", resolution.outcome);
    };
    Target {
        current: Arc::new(Revision::new(*draft, 1)),
        previous: None,
        bound: Bound::Everyone,
        paused: false,
    }
}

fn spec() -> OpAMPConnectionProfileSpec {
    OpAMPConnectionProfileSpec {
        agent_selector: AgentSelector::default(),
        priority: 0,
        paused: false,
        opamp: OpAMPSettings {
            endpoint: None,
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
            },
        },
    }
}
