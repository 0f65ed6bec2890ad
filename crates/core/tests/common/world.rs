//! Certificates, objects and a profile, all good until a test breaks one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{
        AgentSelector, BundleKind, CABundleRef, CertificateSource, ClientCertificate,
        Compatibility, HeaderSetting, HeaderValueSource, OpAMPConnectionProfileSpec,
        OpAMPConnectionProfileStatus, OpAMPSettings, SecretKeyRef, SecretRef, ServedBy,
        ServerTrust, SystemCAs,
    },
    values::{OFFERABLE_LABEL, ObjectRef, ProfileKey},
};
use opamp_operator_core::{
    catalog::{Catalog, Policy, Settings, Settled, Stored},
    identity::{KeyRing, Ledger, Trust},
    offer::{Context, Draft, Object, Observed, Outcome, Resolution, Revision, Serving, resolve},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::at;

/// A token with more than 128 bits.
pub(crate) const STRONG_TOKEN: &str = "q0Zr7XvLkT2mWn8Yc4HsJ9dPfE6aUg3iBoR1tNxKyVw";

/// A certificate authority.
pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }

    /// A certificate as `params` say.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().clone()
    }

    pub(crate) fn issue(&self, issue: &Issue<'_>) -> Pair {
        let mut params = CertificateParams::new(vec![issue.host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "agent");
        let (year, month, day) = issue.from;
        params.not_before = date_time_ymd(year, month, day);
        let (year, month, day) = issue.to;
        params.not_after = date_time_ymd(year, month, day);
        params.extended_key_usages = vec![issue.usage.clone()];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Pair {
            crt: certificate.pem(),
            der: certificate.der().clone(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }
}

/// What a certificate is to say.
pub(crate) struct Issue<'a> {
    pub(crate) host: &'a str,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) from: (i32, u8, u8),
    pub(crate) to: (i32, u8, u8),
}

impl Issue<'static> {
    /// A client's, valid at every moment of the tests.
    pub(crate) fn client() -> Self {
        Self {
            host: "agent.example.com",
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            from: (2029, 1, 1),
            to: (2031, 1, 1),
        }
    }

    /// A server's.
    pub(crate) fn server() -> Self {
        Self {
            host: "opamp.example.com",
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            ..Self::client()
        }
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) crt: String,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: String,
    pub(crate) key_der: Vec<u8>,
}

/// A Secret of type `kubernetes.io/tls` that may be offered.
pub(crate) fn tls_secret(crt: &str, key: &str) -> Object {
    object(
        "kubernetes.io/tls",
        &[("tls.crt", crt), ("tls.key", key), ("ca.crt", crt)],
    )
}

/// An Opaque Secret that may be offered.
pub(crate) fn opaque(data: &[(&str, &str)]) -> Object {
    object("Opaque", data)
}

fn object(type_: &str, data: &[(&str, &str)]) -> Object {
    let labels = BTreeMap::from([(OFFERABLE_LABEL.to_owned(), "true".to_owned())]);
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Object::new(type_, Some(&labels), data, Some("1".into()))
}

/// A profile `a/p` with everything it names: a client certificate in Secret
/// `client`, a token in Secret `token`, a bundle in ConfigMap `bundle`.
pub(crate) struct World {
    /// What the operator's configuration allows.
    pub(crate) policy: Policy,
    pub(crate) profile: ProfileKey,
    pub(crate) spec: OpAMPConnectionProfileSpec,
    pub(crate) objects: BTreeMap<ObjectRef, Observed>,
    pub(crate) keys: KeyRing,
    pub(crate) ca: Ca,
    pub(crate) client_ca: Ca,
    pub(crate) client: Pair,
    serving: Serving,
    advertised: url::Url,
}

impl World {
    pub(crate) fn new() -> Self {
        let ca = Ca::new("serving");
        let server = ca.issue(&Issue::server());
        let client_ca = Ca::new("clients");
        let client = client_ca.issue(&Issue::client());
        let mut world = Self {
            policy: Policy::default(),
            profile: ProfileKey::new("a", "p"),
            spec: spec(),
            objects: BTreeMap::new(),
            keys: KeyRing::new(vec![[7; 32]]).unwrap(),
            serving: Serving::read(server.crt.as_bytes(), server.key.as_bytes(), at(0)).unwrap(),
            advertised: "wss://opamp.example.com:4320/v1/opamp".parse().unwrap(),
            client,
            client_ca,
            ca,
        };
        world.secret("client", tls_secret(&world.client.crt, &world.client.key));
        world.secret("token", opaque(&[("token", STRONG_TOKEN)]));
        let bundle = Object::new(
            "",
            None,
            [("ca.crt".to_owned(), world.ca.pem.clone().into_bytes())],
            None,
        );
        world.bundle(bundle);
        world
    }

    pub(crate) fn secret(&mut self, name: &str, object: Object) {
        self.objects.insert(
            ObjectRef::secret("a", name),
            Observed::Present(Arc::new(object)),
        );
    }

    pub(crate) fn bundle(&mut self, object: Object) {
        self.objects.insert(
            ObjectRef::config_map("a", "bundle"),
            Observed::Present(Arc::new(object)),
        );
    }

    /// No client certificate is offered any more.
    pub(crate) fn without_certificate(&mut self) {
        self.spec.opamp.client_certificate = ClientCertificate {
            source: CertificateSource::None,
            secret_ref: None,
        };
    }

    /// The operator serves with another certificate.
    pub(crate) fn serve(&mut self, pair: &Pair) {
        self.serving = Serving::read(pair.crt.as_bytes(), pair.key.as_bytes(), at(0)).unwrap();
    }

    pub(crate) fn serving(&self) -> &Serving {
        &self.serving
    }

    pub(crate) fn trust(&self, ledger: &Ledger) -> Trust {
        Trust::new(Vec::new(), self.keys.clone(), ledger)
    }

    pub(crate) fn resolve(&self) -> Resolution {
        let absent = Observed::Absent;
        resolve(
            &self.profile,
            &self.spec,
            None,
            |name| self.objects.get(name).unwrap_or(&absent),
            &Context {
                advertised_url: &self.advertised,
                path: "/v1/opamp",
                serving: Some(&self.serving),
                trust: &self.trust(&Ledger::default()),
                keys: &self.keys,
            },
            at(0),
        )
    }

    /// A catalog that resolved the profile; no revision is in force.
    pub(crate) fn catalog(&self) -> Catalog {
        let (catalog, settled) = self.settle();
        assert!(
            matches!(settled, Settled::Draft(..)),
            "not resolved: {settled:?}"
        );
        catalog
    }

    /// A catalog that judged the profile, and what became of it.
    pub(crate) fn settle(&self) -> (Catalog, Settled) {
        let mut catalog = Catalog::new(Settings {
            debounce: Duration::ZERO,
            admin_namespaces: BTreeSet::new(),
            policy: self.policy,
        });
        let stored = Stored {
            generation: 1,
            uid: None,
            spec: Ok(Arc::new(self.spec.clone())),
            status: OpAMPConnectionProfileStatus::default(),
        };
        catalog.set_profile(&self.profile, Some(stored), at(0));
        for (name, object) in &self.objects {
            catalog.set_object(name, object.clone(), at(0));
        }
        let context = Context {
            advertised_url: &self.advertised,
            path: "/v1/opamp",
            serving: Some(&self.serving),
            trust: &self.trust(&Ledger::default()),
            keys: &self.keys,
        };
        let settled = catalog.settle(&self.profile, &context, at(0));
        (catalog, settled)
    }

    pub(crate) fn draft(&self) -> Draft {
        match self.resolve().outcome {
            Outcome::Resolved(draft) => *draft,
            other => panic!("not resolved: {other:?}"),
        }
    }

    pub(crate) fn revision(&self, number: u64) -> Arc<Revision> {
        Arc::new(Revision::new(self.draft(), number))
    }

    /// As `revision`, with other settings for each heartbeat.
    pub(crate) fn revision_with(&mut self, number: u64, heartbeat: u32) -> Arc<Revision> {
        self.spec.opamp.heartbeat_interval_seconds = heartbeat;
        self.revision(number)
    }

    /// Why the profile is refused; checks that the words show nothing secret.
    pub(crate) fn refused(&self) -> (ConditionType, Reason) {
        match self.resolve().outcome {
            Outcome::Unresolved(refusal) => {
                assert!(!refusal.message.contains(STRONG_TOKEN), "{refusal:?}");
                assert!(!refusal.message.contains("-----BEGIN"), "{refusal:?}");
                (refusal.condition, refusal.reason)
            }
            other => panic!("not refused: {other:?}"),
        }
    }
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
                source: CertificateSource::Secret,
                secret_ref: Some(SecretRef {
                    name: "client".into(),
                }),
            },
            tls: ServerTrust {
                ca_bundle_ref: Some(CABundleRef {
                    kind: BundleKind::ConfigMap,
                    name: "bundle".into(),
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
