//! Law 2: who is who, judged by everything that can vouch for somebody; and
//! what takes it back.

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use opamp_operator_api::values::{Identity, IdentityMethod, ObjectRef, ProfileKey};
use opamp_operator_core::{
    Now,
    catalog::{AuthenticatorSource, Built, Material, SourceKind, authenticator, remember},
    identity::{
        Authenticator, Bearer, Bound, DenyList, Fingerprint, HeldBook, Home, Inquiry, KeyRing,
        Ledger, NamePattern, Presented, Proof, Recognition, Revoked, ServiceAccount, Sources,
        Tokens, Trust, Verdict, client_verifier,
    },
    offer::{Object, Observed},
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};

use crate::common::{Ca, STRONG_TOKEN, World, at, nothing, token, uid};

const ONE: &str = "a-token-that-is-long-enough";
const TWO: &str = "another-token-also-long-enough";

pub(crate) fn keys() -> KeyRing {
    KeyRing::new(vec![[7; 32]]).unwrap()
}

fn fingerprint(token: &str) -> Fingerprint {
    Fingerprint::of_authorization(format!("Bearer {token}").as_bytes())
}

fn bearer(name: &str, token: &str) -> Authenticator {
    Authenticator::token(name, "a", name, [fingerprint(token)])
}

fn tokens(tokens: Tokens) -> Authenticator {
    Authenticator::Token {
        name: "bootstrap".into(),
        namespace: "a".into(),
        secret: "bootstrap".into(),
        tokens: Arc::new(tokens),
    }
}

fn cluster() -> Authenticator {
    Authenticator::ServiceAccount {
        name: "cluster".into(),
        audience: "opamp".into(),
    }
}

fn trust(authenticators: Vec<Authenticator>) -> Trust {
    Trust::new(authenticators, keys(), &Ledger::default())
}

pub(crate) fn trusting(sources: Sources) -> Trust {
    Trust::of(sources, keys(), &Ledger::default())
}

fn verify(trust: &Trust, presented: &Presented) -> Proof {
    trust.verify(presented, &Bearer::Nobody, at(0))
}

pub(crate) fn proved(proof: Proof) -> Verdict {
    match proof {
        Proof::Proved(verdict) => verdict,
        other => panic!("not proved: {other:?}"),
    }
}

fn subject(proof: Proof) -> Option<String> {
    proved(proof).primary.map(|identity| identity.subject)
}

/// A token in the form of a JWT, that nobody signed.
fn unsigned(audience: &str) -> String {
    let part = |json: &str| {
        use std::fmt::Write as _;
        // base64url, by hand: three bytes become four digits.
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in json.as_bytes().chunks(3) {
            let bits = chunk
                .iter()
                .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                let at = bits >> (18 - 6 * digit) & 63;
                let _ = write!(text, "{}", char::from(digits[at as usize]));
            }
        }
        text
    };
    let claims = format!(r#"{{"aud":["{audience}"],"exp":1}}"#);
    format!(
        "{}.{}.c2lnbmF0dXJl",
        part(r#"{"alg":"RS256"}"#),
        part(&claims)
    )
}

fn shows(token: &str) -> (Presented, Vec<u8>) {
    let header = format!("Bearer {token}").into_bytes();
    (Presented::new(Vec::new(), Some(&header), None), header)
}

fn account(name: &str) -> ServiceAccount {
    ServiceAccount {
        namespace: "a".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        pod: Some(Bound {
            name: "pod-1".into(),
            uid: "uid-of-pod-1".into(),
        }),
        node: Some("node-1".into()),
        expires: Some(at(600).wall),
    }
}

pub(crate) fn vouched(name: &str) -> Bearer {
    Bearer::Vouched(Arc::new(account(name).vouched("cluster")))
}

fn certificate(ca: &Ca, names: impl FnOnce(&mut CertificateParams)) -> Presented {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    names(&mut params);
    params.not_before = rcgen::date_time_ymd(2029, 1, 1);
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    Presented::new(vec![ca.sign(&params, &key)], None, None)
}

fn named(ca: &Ca, common_name: &str, uri: Option<&str>) -> Presented {
    certificate(ca, |params| {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        if let Some(uri) = uri {
            let uri = SanType::URI(uri.try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
    })
}

#[test]
fn law2_the_first_authenticator_that_says_yes_decides() {
    let both = trust(vec![bearer("one", ONE), bearer("two", ONE)]);
    assert_eq!(subject(verify(&both, &token(ONE))).unwrap(), "one");
    let turned = trust(vec![bearer("two", ONE), bearer("one", ONE)]);
    assert_eq!(subject(verify(&turned, &token(ONE))).unwrap(), "two");
    assert_eq!(verify(&both, &token(TWO)), Proof::Refused);
    // One that nobody has heard of yet refuses nobody.
    let unknown = Authenticator::Unknown { name: "x".into() };
    let waiting = trust(vec![unknown, bearer("one", ONE)]);
    assert_eq!(verify(&waiting, &token(TWO)), Proof::NotYet);
    assert_eq!(subject(verify(&waiting, &token(ONE))).unwrap(), "one");
}

#[test]
fn law2_the_api_is_asked_about_tokens_for_our_audience_only() {
    let trust = trust(vec![bearer("one", ONE), cluster()]);
    let inquire = |token: &str| {
        let (presented, header) = shows(token);
        trust.inquire(&presented, Some(&header), at(0))
    };
    assert_eq!(
        inquire(&unsigned("opamp")),
        Inquiry::Ask {
            authenticator: "cluster".into(),
            audience: "opamp".into(),
            otherwise: Bearer::Nobody,
        }
    );
    let nobody = Inquiry::Known(Bearer::Nobody);
    for other in [
        &unsigned("https://kubernetes.default.svc"),
        ONE,
        TWO,
        "x.y",
        "",
    ] {
        assert_eq!(inquire(other), nobody, "{other}");
    }
    assert_eq!(trust.inquire(&nothing(), None, at(0)), nobody);
    // Nobody is asked where an earlier one knows the answer.
    let ours = unsigned("opamp");
    let known = self::trust(vec![bearer("one", &ours), cluster()]);
    let (presented, header) = shows(&ours);
    assert_eq!(known.inquire(&presented, Some(&header), at(0)), nobody);
}

#[test]
fn law2_a_service_account_is_who_the_api_says() {
    let trust = trust(vec![cluster()]);
    let (presented, _) = shows(&unsigned("opamp"));
    let verdict = proved(trust.verify(&presented, &vouched("agents"), at(0)));
    let identity = verdict.primary.unwrap();
    assert_eq!(identity.to_string(), "a/ServiceAccount/cluster/agents");
    assert_eq!(verdict.lasts, Some(at(600).wall));
    let attributes = &verdict.vouched.unwrap().attributes;
    assert_eq!(attributes["k8s.pod.name"], "pod-1");
    assert_eq!(attributes["k8s.node.name"], "node-1");
    assert_eq!(verify(&trust, &presented), Proof::Refused);
    let unheard = trust.verify(&presented, &Bearer::NotYet, at(0));
    assert_eq!(unheard, Proof::NotYet);
    // Another namespace than those where agents are at home.
    let elsewhere = trusting(Sources {
        authenticators: vec![cluster()],
        homes: Some(["b".to_owned()].into()),
        ..Sources::default()
    });
    let judged = elsewhere.verify(&presented, &vouched("agents"), at(0));
    assert_eq!(judged, Proof::Refused);
}

/// What we offered ourselves needs no answer of the API server.
#[test]
fn law8_an_api_server_that_is_away_refuses_nobody_whom_we_recognise() {
    let world = World::new();
    let ledger = Ledger::new(vec![world.draft().ledger_entry(1, at(0).wall)]);
    let trust = Trust::new(vec![cluster()], world.keys.clone(), &ledger);
    let shown = Presented::new(
        vec![world.client.der.clone()],
        Some(format!("Bearer {}", unsigned("opamp")).as_bytes()),
        None,
    );
    let verdict = proved(trust.verify(&shown, &Bearer::NotYet, at(0)));
    assert_eq!((verdict.primary, verdict.recognised.len()), (None, 1));
}

#[test]
fn law2_a_certificate_names_its_holder_by_a_uri_or_else_by_its_common_name() {
    let ca = Ca::new("fleet");
    let of = |home: Home, presented: &Presented| {
        let trust = trust(vec![Authenticator::Certificate {
            name: "fleet".into(),
            home,
            verifier: client_verifier(&[ca.der()]).unwrap(),
            retired: Vec::new(),
        }]);
        match verify(&trust, presented) {
            Proof::Proved(verdict) => verdict.primary.map(|i| (i.namespace, i.subject)),
            _ => None,
        }
    };
    let fixed = || Home::Namespace("a".into());
    let subject = |home: Home, presented: &Presented| of(home, presented).map(|(_, s)| s);
    let uri = named(&ca, "edge", Some("spiffe://x/b/edge"));
    assert_eq!(subject(fixed(), &uri).unwrap(), "URI:spiffe://x/b/edge");
    // A common name is never taken for a URI.
    let pretends = named(&ca, "spiffe://x/b/edge", None);
    assert_eq!(subject(fixed(), &pretends).unwrap(), "CN:spiffe://x/b/edge");
    let pattern = || Home::Pattern(NamePattern::parse("spiffe://x/{namespace}/{name}").unwrap());
    assert_eq!(of(pattern(), &uri).unwrap().0, "b");
    assert_eq!(
        of(pattern(), &named(&ca, "edge", Some("spiffe://y/b/e"))),
        None
    );
    assert_eq!(of(fixed(), &certificate(&ca, |_| {})), None, "nameless");
    let stranger = named(&Ca::new("stranger"), "edge", Some("spiffe://x/b/edge"));
    assert_eq!(of(fixed(), &stranger), None);
}

#[test]
fn law2_tokens_end_and_their_secret_says_for_whom_they_are() {
    let limited = |expires, allowed: Option<u8>| {
        let mut limited = Tokens {
            accepted: vec![fingerprint(ONE)],
            expires,
            ..Tokens::default()
        };
        limited.terms.allowed = allowed.map(|last| vec![uid(last)]);
        trust(vec![tokens(limited)])
    };
    let ends = limited(Some(at(10).wall), None);
    let verdict = proved(ends.verify(&token(ONE), &Bearer::Nobody, at(9)));
    assert_eq!(verdict.until, Some(at(10).wall));
    let over = ends.verify(&token(ONE), &Bearer::Nobody, at(10));
    assert_eq!(over, Proof::Refused);
    let verdict = proved(verify(&limited(None, Some(1)), &token(ONE)));
    assert!(verdict.for_uid(uid(1)).primary.is_some());
    assert!(verdict.for_uid(uid(2)).primary.is_none());
}

#[test]
fn s12_law2_what_is_revoked_is_refused_whatever_else_is_shown() {
    let world = World::new();
    let ledger = Ledger::new(vec![world.draft().ledger_entry(3, at(0).wall)]);
    let ca = Authenticator::certificate("fleet", "a", &[world.client_ca.der()]).unwrap();
    let both = Presented::new(
        vec![world.client.der.clone()],
        Some(format!("Bearer {ONE}").as_bytes()),
        None,
    );
    let denying = |key: &str, entry: &str| {
        let (list, problems) = DenyList::read([(key, entry.as_bytes())]);
        assert_eq!(problems, [""; 0]);
        let sources = Sources {
            authenticators: vec![bearer("bootstrap", ONE), ca.clone(), cluster()],
            deny: Some(list),
            ..Sources::default()
        };
        Trust::of(sources, world.keys.clone(), &ledger)
    };
    let fine = denying("certificates", "");
    let verdict = proved(fine.verify(&both, &Bearer::Nobody, at(0)));
    let binding = verdict.primary.clone().unwrap();
    let certificate = hex::encode(sha2_of(&world.client.der));
    let profile = &world.profile;
    let revision = format!("{}/{}/3", profile.namespace, profile.name);
    let third = Recognition {
        profile: ProfileKey::new(&profile.namespace, &profile.name),
        number: 3,
    };
    let cases = [
        ("certificates", certificate.as_str(), Revoked::Certificate),
        (
            "identities",
            "bootstrap/bootstrap",
            Revoked::Identity(binding.clone()),
        ),
        ("revisions", &revision, Revoked::Revision(third)),
    ];
    for (key, entry, why) in cases {
        let denied = denying(key, entry).verify(&both, &Bearer::Nobody, at(0));
        assert_eq!(denied, Proof::Revoked(why), "{key}");
    }
    // By instance UID and by binding, whatever the link itself proves.
    let uid_denied = denying("instanceUIDs", &uid(1).to_string());
    let of = |trust: &Trust, number, binding: Option<&Identity>| {
        trust.revoked(Some(uid(number)), binding, &nothing(), &Verdict::default())
    };
    assert_eq!(of(&uid_denied, 1, None), Some(Revoked::InstanceUid));
    assert_eq!(of(&uid_denied, 2, None), None);
    let identity_denied = denying("identities", "bootstrap/bootstrap");
    assert_eq!(
        of(&identity_denied, 1, Some(&binding)),
        Some(Revoked::Identity(binding.clone()))
    );
    assert_eq!(of(&fine, 1, Some(&binding)), None);
    // While nobody knows what is revoked nobody is judged.
    let unread = trusting(Sources {
        authenticators: vec![bearer("bootstrap", ONE)],
        deny: None,
        ..Sources::default()
    });
    assert_eq!(verify(&unread, &token(ONE)), Proof::NotYet);
}

fn sha2_of(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[test]
fn s12_law2_a_token_secret_revokes_tokens_or_all_of_them() {
    let one = trust(vec![tokens(Tokens {
        accepted: vec![fingerprint(TWO)],
        revoked: vec![fingerprint(ONE)],
        ..Tokens::default()
    })]);
    assert_eq!(verify(&one, &token(ONE)), Proof::Revoked(Revoked::Token));
    let other = proved(verify(&one, &token(TWO)));
    let binding = other.primary.as_ref();
    let still = |trust: &Trust| trust.revoked(None, binding, &nothing(), &Verdict::default());
    assert_eq!(still(&one), None);
    let all = trust(vec![tokens(Tokens {
        accepted: vec![fingerprint(ONE)],
        all_revoked: true,
        ..Tokens::default()
    })]);
    assert_eq!(verify(&all, &token(ONE)), Proof::Revoked(Revoked::Token));
    assert!(matches!(still(&all), Some(Revoked::Identity(_))));
}

#[test]
fn s12_law2_a_service_account_that_is_gone_takes_its_agents_with_it() {
    let (presented, _) = shows(&unsigned("opamp"));
    let of = |known: Option<&str>| {
        let accounts = known.map(|uid| ("agents".to_owned(), uid.to_owned()));
        let accounts: BTreeMap<_, _> = accounts.into_iter().collect();
        trusting(Sources {
            authenticators: vec![cluster()],
            service_accounts: Arc::new([("a".to_owned(), accounts)].into()),
            ..Sources::default()
        })
    };
    let exists = of(Some("uid-of-agents"));
    let bearer = vouched("agents");
    let verdict = proved(exists.verify(&presented, &bearer, at(0)));
    let binding = verdict.primary.clone().unwrap();
    let gone = of(None).verify(&presented, &bearer, at(0));
    assert_eq!(
        gone,
        Proof::Revoked(Revoked::ServiceAccount(binding.clone()))
    );
    // Also by what they were offered: the instance UID is theirs.
    let by_binding = of(None).revoked(None, Some(&binding), &nothing(), &Verdict::default());
    assert!(by_binding.is_some());
    // Another of the same name: its own tokens do, the old ones do not.
    let replaced = of(Some("another-uid"));
    let judged = replaced.verify(&presented, &bearer, at(0));
    assert_eq!(judged, Proof::Revoked(Revoked::Bearer));
    let by_binding = replaced.revoked(None, Some(&binding), &nothing(), &Verdict::default());
    assert_eq!(by_binding, None);
    // Where nobody knows which exist, nobody is cut off.
    let unknown = trusting(Sources {
        authenticators: vec![cluster()],
        ..Sources::default()
    });
    proved(unknown.verify(&presented, &bearer, at(0)));
}

#[test]
fn law2_strangers_may_be_let_in_to_report() {
    let open = trusting(Sources {
        authenticators: vec![bearer("one", ONE)],
        anonymous: Some("a".into()),
        ..Sources::default()
    });
    let verdict = proved(verify(&open, &nothing()));
    assert_eq!(
        (verdict.primary.as_ref(), verdict.anonymous.as_deref()),
        (None, Some("a"))
    );
    assert!(proved(verify(&open, &token(ONE))).anonymous.is_none());
    let unheard = trusting(Sources {
        authenticators: vec![Authenticator::Unknown { name: "x".into() }],
        anonymous: Some("a".into()),
        ..Sources::default()
    });
    assert_eq!(verify(&unheard, &nothing()), Proof::NotYet);
}

/// From the Secret to the verdict, as the controller does it.
struct Book {
    source: AuthenticatorSource,
    held: HeldBook,
}

impl Book {
    fn read(&mut self, data: &[(&str, &str)], now: Now) -> Trust {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        let object = Observed::Present(Arc::new(Object::new("", None, data, None)));
        let built = authenticator(&self.source, Material::Object(&object), &keys(), now);
        let Built::Usable(usable) = built else {
            panic!("not usable: {built:?}")
        };
        let name = &self.source.name;
        self.held
            .observe(name, &usable.held, &usable.revoked, now.wall);
        let mut authenticator = usable.authenticator;
        remember(&mut authenticator, &self.held);
        trust(vec![authenticator])
    }
}

#[test]
fn law8_what_leaves_its_object_retires_for_a_week() {
    let week = u64::try_from(SignedDuration::from_hours(7 * 24).as_secs()).unwrap();
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let object = ObjectRef::secret("a", "s");
    let by_token = (
        SourceKind::AgentToken {
            object: object.clone(),
        },
        ("token", ONE.to_owned(), TWO.to_owned()),
        token(ONE),
    );
    let by_ca = (
        SourceKind::ClientCertificate {
            object,
            key: "ca.crt".into(),
            home: Home::Namespace("a".into()),
        },
        ("ca.crt", old.pem.clone(), new.pem.clone()),
        named(&old, "edge", None),
    );
    for (kind, (key, before, after), shown) in [by_token, by_ca] {
        let mut book = Book {
            source: AuthenticatorSource {
                name: "x".into(),
                kind,
            },
            held: HeldBook::default(),
        };
        let trust = book.read(&[(key, &before)], at(0));
        let primary = proved(verify(&trust, &shown)).primary;
        assert!(primary.is_some());
        let trust = book.read(&[(key, &after)], at(100));
        let judge = |seconds| trust.verify(&shown, &Bearer::Nobody, at(seconds));
        let verdict = proved(judge(101));
        assert_eq!(verdict.primary, None);
        assert_eq!(verdict.retired, primary.zip(Some(at(100).wall)));
        assert_eq!(verdict.lasts, Some(at(100 + week).wall));
        proved(judge(100 + week - 1));
        assert_eq!(judge(100 + week), Proof::Refused);
        // It comes back.
        let trust = book.read(&[(key, &before)], at(200));
        assert!(proved(verify(&trust, &shown)).primary.is_some());
    }
}

#[test]
fn s12_law2_a_revoked_token_does_not_retire() {
    let mut book = Book {
        source: AuthenticatorSource {
            name: "x".into(),
            kind: SourceKind::AgentToken {
                object: ObjectRef::secret("a", "s"),
            },
        },
        held: HeldBook::default(),
    };
    book.read(&[("token", ONE), ("token-2", TWO)], at(0));
    let trust = book.read(&[("token-2", TWO), ("revoked", ONE)], at(1));
    assert_eq!(verify(&trust, &token(ONE)), Proof::Revoked(Revoked::Token));
    // Nor when the word of it is taken away again.
    let trust = book.read(&[("token-2", TWO)], at(2));
    assert_eq!(verify(&trust, &token(ONE)), Proof::Refused);
}

#[test]
fn law8_what_lasts_longest_says_until_when_an_agent_can_return() {
    let world = World::new();
    let ledger = Ledger::new(vec![world.draft().ledger_entry(1, at(0).wall)]);
    let of = |authenticators| Trust::new(authenticators, world.keys.clone(), &ledger);
    let leaf = || Presented::new(vec![world.client.der.clone()], None, None);
    let end = leaf().not_after().unwrap();
    let lasts = |trust: &Trust, shown: &Presented| proved(verify(trust, shown)).lasts;
    let day = SignedDuration::from_hours(24);
    assert_eq!(
        lasts(&of(Vec::new()), &leaf()),
        Some(end + day * 3),
        "recognised"
    );
    assert_eq!(lasts(&of(vec![bearer("one", ONE)]), &token(ONE)), None);
    assert_eq!(lasts(&of(Vec::new()), &token(STRONG_TOKEN)), None);
    let fleet = Ca::new("fleet");
    let ca = Authenticator::certificate("fleet", "a", &[fleet.der()]).unwrap();
    let shown = named(&fleet, "edge", None);
    assert_eq!(lasts(&of(vec![ca]), &shown), shown.not_after(), "primary");
}

#[test]
fn law7_nothing_that_judges_shows_a_credential() {
    let trust = trust(vec![bearer("one", ONE), cluster()]);
    let shown = format!("{trust:?} {:?}", vouched("agents"));
    let digest = hex::encode(sha2_of(format!("bearer {ONE}").as_bytes()));
    assert!(!shown.contains(ONE) && !shown.contains(&digest), "{shown}");
}

#[test]
fn law2_a_service_account_is_no_other_kind_of_identity() {
    let identity = account("agents").vouched("cluster").identity;
    assert_eq!(identity.method, IdentityMethod::ServiceAccount);
    // An authenticator of another kind does not take it over.
    let named_so = Authenticator::certificate("cluster", "a", &[Ca::new("x").der()]).unwrap();
    let trust = trust(vec![named_so]);
    let (presented, _) = shows(&unsigned("opamp"));
    let judged = trust.verify(&presented, &vouched("agents"), at(0));
    assert_eq!(judged, Proof::Refused);
}

#[test]
fn law8_a_large_secret_retires_as_a_small_one_does() {
    let mut book = Book {
        source: AuthenticatorSource {
            name: "x".into(),
            kind: SourceKind::AgentToken {
                object: ObjectRef::secret("a", "s"),
            },
        },
        held: HeldBook::default(),
    };
    let tokens = |generation: &str| -> Vec<_> {
        let one = |number| {
            let token = format!("{generation}-{number:03}-long-enough");
            (format!("token-{number:03}"), token)
        };
        (0..100).map(one).collect()
    };
    let data = |tokens: &[(String, String)]| -> Vec<(String, String)> { tokens.to_vec() };
    let (old, new) = (data(&tokens("old")), data(&tokens("new")));
    let mut read = |all: &[(String, String)], seconds| {
        let all: Vec<_> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        book.read(&all, at(seconds))
    };
    read(&old, 0);
    // One leaves; then all.
    let trust = read(&old[1..], 1);
    assert!(proved(verify(&trust, &token(&old[0].1))).retired.is_some());
    let trust = read(&new, 2);
    for (_, left) in &old {
        let judged = verify(&trust, &token(left));
        assert!(matches!(judged, Proof::Proved(_)), "{left}: {judged:?}");
    }
}

#[test]
fn law9_any_configured_retirement_can_be_reckoned_with() {
    let mut book = HeldBook::default();
    let held = opamp_operator_core::identity::Held::Authority("x".into());
    let none = std::collections::BTreeSet::new();
    book.observe("ca", &[held].into(), &none, at(0).wall);
    book.observe("ca", &none, &none, at(1).wall);
    let long = SignedDuration::from_hours(u32::MAX.into());
    assert!(!book.prune(long, at(2).wall));
    assert!(book.next_end(long).is_some());
}

/// A ServiceAccount is named in its namespace: those of the same name in others
/// are somebody else.
#[test]
fn s12_law9_revoking_a_service_account_leaves_its_namesakes_alone() {
    let (presented, _) = shows(&unsigned("opamp"));
    let denying = |entry: &str| {
        let (list, problems) = DenyList::read([("identities", entry.as_bytes())]);
        assert_eq!(problems, [""; 0]);
        trusting(Sources {
            authenticators: vec![cluster()],
            deny: Some(list),
            ..Sources::default()
        })
    };
    let of = |namespace: &str| {
        let account = ServiceAccount {
            namespace: namespace.into(),
            ..account("agents")
        };
        Bearer::Vouched(Arc::new(account.vouched("cluster")))
    };
    let trust = denying("a/ServiceAccount/cluster/agents");
    let judged = trust.verify(&presented, &of("a"), at(0));
    assert!(matches!(judged, Proof::Revoked(_)), "{judged:?}");
    let judged = trust.verify(&presented, &of("b"), at(0));
    assert!(matches!(judged, Proof::Proved(_)), "{judged:?}");
    // Without a namespace it is all of them.
    let trust = denying("cluster/agents");
    for namespace in ["a", "b"] {
        let judged = trust.verify(&presented, &of(namespace), at(0));
        assert!(matches!(judged, Proof::Revoked(_)), "{judged:?}");
    }
}

#[test]
fn law7_a_name_that_breaks_lines_names_nobody() {
    let ca = Ca::new("fleet");
    let fleet = Authenticator::certificate("fleet", "a", &[ca.der()]).unwrap();
    let trust = trust(vec![fleet]);
    let forged = named(&ca, "edge\nWARN nothing to see", None);
    assert_eq!(verify(&trust, &forged), Proof::Refused);
}

#[test]
fn law10_a_chain_that_is_too_long_is_not_followed() {
    let root = Ca::new("fleet");
    let trust = trust(vec![
        Authenticator::certificate("fleet", "a", &[root.der()]).unwrap(),
    ]);
    let with = |others: usize| {
        let mut chain = named(&root, "edge", None).chain;
        chain.extend(std::iter::repeat_n(Ca::new("fleet").der(), others));
        let leaf = chain[0].clone();
        let shown = Presented::new(chain, None, None);
        assert_eq!(shown.leaf, Some(Fingerprint::of(&leaf)));
        shown
    };
    assert_eq!(with(7).chain.len(), 8);
    assert_eq!(subject(verify(&trust, &with(7))).unwrap(), "CN:edge");
    // What it is recognised by is still known; and this leaf needs no other.
    assert_eq!(with(60).chain.len(), 1);
    assert_eq!(subject(verify(&trust, &with(60))).unwrap(), "CN:edge");
}
