//! A small world that is the same in every process: certificates, the objects
//! that a profile may name, and who would be admitted. Its keys are numbers
//! written into this file, so that a seed means the same tomorrow.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use opamp_operator_api::{
    OFFERABLE_LABEL, ObjectKind, ObjectRef, ProfileKey, v1alpha1::OpAMPConnectionProfileSpec,
};
use opamp_operator_core::{
    Now,
    identity::{
        Authenticator, Fingerprint, JwtHome, JwtKeys, JwtRules, KeyRing, Ledger, Sources, Trust,
    },
    offer::{Context, Object, Observed, Outcome, Resolution, Revision, Serving, resolve},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519, PublicKeyData as _, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;

/// What new agents of namespace `a`, and of `b`, show.
pub(crate) const BOOTSTRAP: [&str; 2] = [
    "kP3vXw8RbYt5LmZq0NcJ7uHsGd2AeF9o",
    "Wn6TzQ1xVb4KyMr8SgPj3LdCfU5hEa7i",
];
/// What revisions 1 and 2 offer.
pub(crate) const TOKENS: [&str; 2] = [
    "q0Zr7XvLkT2mWn8Yc4HsJ9dPfE6aUg3iBoR1tNxKyVw",
    "Hy5Gt2Fr8De1Sw4Aq7Zx0Cv3Bn6Mk9Lp2Oi5Uj8Yh1T",
];
/// Where agents may be at home.
pub(crate) const HOMES: [&str; 2] = ["a", "b"];
/// Of the authenticator that knows the issuer.
pub(crate) const ISSUER_NAME: &str = "issued";
/// Where this operator is, and where it serves.
pub(crate) const ADVERTISED: &str = "wss://opamp.example.com:4320/v1/opamp";
const PATH: &str = "/v1/opamp";

/// The moment `seconds` after the beginning.
pub(crate) fn at(seconds: u64) -> Now {
    let uptime = Duration::from_secs(seconds);
    let start = Timestamp::from_second(1_893_456_000).expect("2030");
    Now {
        wall: start + uptime,
        uptime,
    }
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) crt: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("our own key")
    }
}

pub(crate) struct World {
    /// Serving CAs, old and new.
    pub(crate) cas: [String; 2],
    pub(crate) client_ca: String,
    pub(crate) server: Pair,
    /// Of revisions 1 and 2.
    pub(crate) clients: [Pair; 2],
    serving: Serving,
    objects: BTreeMap<(ObjectKind, &'static str), Observed>,
    keys: KeyRing,
    advertised: url::Url,
    authenticators: Vec<Authenticator>,
    /// Signs JSON Web Tokens, and somebody who would like to.
    pub(crate) issuer: KeyPair,
    pub(crate) stranger: KeyPair,
    /// What says so.
    pub(crate) key_set: String,
}

/// The only one.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(World::new);

impl World {
    fn new() -> Self {
        let (ca, next_ca) = (Ca::new("serving", 1), Ca::new("serving-next", 2));
        let client_ca = Ca::new("clients", 3);
        let server = ca.issue(4, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let issuer = key(11);
        let clients = [client_ca.issue(5, |_| {}), client_ca.issue(6, |_| {})];
        let serving = Serving::read(server.crt.as_bytes(), server.key.as_bytes(), at(0));
        let mut world = Self {
            serving: serving.expect("a serving certificate"),
            objects: BTreeMap::new(),
            keys: KeyRing::new(vec![[7; 32]]).expect("a key"),
            advertised: ADVERTISED.parse().expect("a URL"),
            authenticators: authenticators(&client_ca, &issuer),
            key_set: key_set(&issuer),
            issuer,
            stranger: key(12),
            cas: [ca.pem, next_ca.pem],
            client_ca: client_ca.pem.clone(),
            server,
            clients,
        };
        world.put_good_objects();
        world.put_bad_objects(&client_ca);
        world
    }

    fn put(&mut self, kind: ObjectKind, name: &'static str, object: Object) {
        let observed = Observed::Present(Arc::new(object));
        self.objects.insert((kind, name), observed);
    }

    fn put_tls(&mut self, name: &'static str, crt: &str, key: &str) {
        let data = [("tls.crt", crt), ("tls.key", key), ("ca.crt", crt)];
        let object = object("kubernetes.io/tls", true, &data);
        self.put(ObjectKind::Secret, name, object);
    }

    fn put_good_objects(&mut self) {
        for (at, name) in ["client", "client-next"].into_iter().enumerate() {
            let Pair { crt, key, .. } = &self.clients[at];
            self.put_tls(name, &crt.clone(), &key.clone());
        }
        let [ca, next] = self.cas.clone();
        let both = format!("# old\n{ca}# new\n{next}");
        let (with_key, empty) = (format!("{ca}{}", self.server.key), "\n");
        let bundles = [
            ("ca.crt", ca.as_str()),
            ("next.crt", &next),
            ("both.crt", &both),
            ("with-key.pem", &with_key),
            ("empty.crt", empty),
        ];
        self.put(ObjectKind::ConfigMap, "bundle", object("", false, &bundles));
        self.put(
            ObjectKind::Secret,
            "bundle",
            object("Opaque", true, &bundles),
        );
        let newline = format!("{}\n", TOKENS[0]);
        let control = format!("{}\u{7f}\u{e9}{}", TOKENS[0], TOKENS[1]);
        let tokens = [
            ("token", TOKENS[0]),
            ("next", TOKENS[1]),
            ("newline", &newline),
            ("weak", "hunter2"),
            ("control", &control),
        ];
        self.put(ObjectKind::Secret, "token", object("Opaque", true, &tokens));
    }

    fn put_bad_objects(&mut self, client_ca: &Ca) {
        let [one, two] = [&self.clients[0], &self.clients[1]];
        let (crt, other) = (one.crt.clone(), two.key.clone());
        self.put_tls("mismatch", &crt, &other);
        let early = client_ca.issue(7, |params| params.not_before = date_time_ymd(2030, 2, 1));
        self.put_tls("early", &early.crt, &early.key);
        let expired = client_ca.issue(8, |params| params.not_after = date_time_ymd(2029, 6, 1));
        self.put_tls("expired", &expired.crt, &expired.key);
        let crt = self.server.crt.clone();
        let key = self.server.key.clone();
        self.put_tls("server", &crt, &key);
        let temporary = Ca::new("cert-manager.local", 9).issue(10, |_| {});
        self.put_tls("temporary", &temporary.crt, &temporary.key);
        let token = [("token", TOKENS[0])];
        let private = object("Opaque", false, &token);
        self.put(ObjectKind::Secret, "private", private);
        let account = object("kubernetes.io/service-account-token", true, &token);
        self.put(ObjectKind::Secret, "account", account);
        let forbidden = Observed::Forbidden("`kubectl create role`".into());
        self.objects
            .insert((ObjectKind::Secret, "forbidden"), forbidden);
        self.objects
            .insert((ObjectKind::ConfigMap, "pending"), Observed::Pending);
    }

    /// What is there under this name, in whatever namespace.
    pub(crate) fn observe(&self, reference: &ObjectRef) -> &Observed {
        static ABSENT: Observed = Observed::Absent;
        let is = |kind, name| kind == reference.kind && name == reference.name;
        let mut objects = self.objects.iter();
        let found = objects.find(|((kind, name), _)| is(*kind, *name));
        found.map_or(&ABSENT, |(_, observed)| observed)
    }

    /// Who would be admitted, after these revisions.
    pub(crate) fn trust(&self, ledger: &Ledger) -> Trust {
        let sources = Sources {
            authenticators: self.authenticators.clone(),
            homes: Some(HOMES.map(str::to_owned).into()),
            ..Sources::default()
        };
        Trust::of(sources, self.keys.clone(), ledger)
    }

    pub(crate) fn resolve<'a>(
        &self,
        key: &ProfileKey,
        spec: &OpAMPConnectionProfileSpec,
        observe: impl Fn(&ObjectRef) -> &'a Observed,
    ) -> Resolution {
        let context = Context {
            advertised_url: &self.advertised,
            path: PATH,
            serving: Some(&self.serving),
            trust: &self.trust(&Ledger::default()),
            keys: &self.keys,
        };
        resolve(key, spec, None, observe, &context, at(0))
    }

    /// Revisions 1 and 2 of a profile, and the ledger that has both.
    pub(crate) fn revisions(&self, key: &ProfileKey) -> ([Arc<Revision>; 2], Ledger) {
        let mut ledger = Ledger::default();
        let revisions =
            [(1, "client", "token"), (2, "client-next", "next")].map(|(number, client, token)| {
                let spec = serde_json::from_value(spec(client, token)).expect("a spec");
                let resolution = self.resolve(key, &spec, |name| self.observe(name));
                let Outcome::Resolved(draft) = resolution.outcome else {
                    panic!("revision {number}: {:?}", resolution.outcome);
                };
                ledger.put(draft.ledger_entry(number, at(0).wall));
                Arc::new(Revision::new(*draft, number))
            });
        (revisions, ledger)
    }

    /// What nobody may be shown.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let pairs = self.clients.iter().chain([&self.server]);
        // A line of the key is enough to know it by.
        let keys = pairs.filter_map(|pair| pair.key.lines().nth(1));
        keys.chain(TOKENS).chain(BOOTSTRAP)
    }
}

fn authenticators(client_ca: &Ca, issuer: &KeyPair) -> Vec<Authenticator> {
    let tokens = ["a", "b"].into_iter().zip(BOOTSTRAP);
    let token = |(namespace, token): (&str, &str)| {
        let token = Fingerprint::of_authorization(format!("Bearer {token}").as_bytes());
        Authenticator::token(
            &format!("bootstrap-{namespace}"),
            namespace,
            "bootstrap",
            [token],
        )
    };
    let bundle = std::slice::from_ref(&client_ca.der);
    let certificates = Authenticator::certificate("clients", "a", bundle);
    let by_issuer = Authenticator::Jwt {
        name: ISSUER_NAME.into(),
        rules: Arc::new(rules()),
        keys: JwtKeys::read(key_set(issuer).as_bytes()).expect("a key set"),
    };
    tokens
        .map(token)
        .chain([certificates.expect("a CA"), by_issuer])
        .collect()
}

/// How tokens of the issuer are read.
pub(crate) fn rules() -> JwtRules {
    JwtRules {
        issuer: "https://issuer.example.com".into(),
        audiences: vec!["opamp".into()],
        subject_claim: "sub".into(),
        namespace: JwtHome::Claim("ns".into()),
        required: vec![("env".into(), "production".into())],
    }
}

/// RFC 8037.
fn key_set(issuer: &KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(issuer.der_bytes());
    let key = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one", "x": x,
    });
    json!({ "keys": [key] }).to_string()
}

fn spec(client: &str, token: &str) -> serde_json::Value {
    json!({
        "agentSelector": {},
        "opamp": {
            "heartbeatIntervalSeconds": 30,
            "headers": [{
                "name": "Authorization",
                "valueFrom": {"secretKeyRef": {"name": "token", "key": token}, "prefix": "Bearer "},
            }],
            "clientCertificate": {"source": "Secret", "secretRef": {"name": client}},
            "tls": {"caBundleRef": {"name": "bundle"}},
        },
    })
}

/// An object with these values; `offerable` is its label.
pub(crate) fn object(type_: &str, offerable: bool, data: &[(&str, &str)]) -> Object {
    let labels = BTreeMap::from([(OFFERABLE_LABEL.to_owned(), offerable.to_string())]);
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Object::new(type_, Some(&labels), data, None)
}

struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    der: CertificateDer<'static>,
}

impl Ca {
    fn new(name: &str, number: u8) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        let key = key(number);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            params,
            key,
        }
    }

    /// A leaf, good for a client until `change` makes it something else.
    fn issue(&self, number: u8, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names = [
            "opamp.example.com",
            "*.agents.example.com",
            "localhost",
            "127.0.0.1",
            "::1",
        ];
        let names: Vec<String> = names.map(str::to_owned).into();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = date_time_ymd(2029, 1, 1);
        params.not_after = date_time_ymd(2031, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = key(number);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        Pair {
            crt: certificate.pem(),
            der: certificate.der().clone(),
            key: key.serialize_pem(),
        }
    }
}

/// An Ed25519 key, whose signatures are always the same: RFC 8410, section 7.
fn key(number: u8) -> KeyPair {
    const BEFORE: [u8; 16] = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let der = [&BEFORE[..], &[number; 32]].concat();
    let der = PrivatePkcs8KeyDer::from(der);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).expect("a key")
}
