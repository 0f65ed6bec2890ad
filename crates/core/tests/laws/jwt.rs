//! Law 2: JSON Web Tokens of a configured issuer, and everything that is not one.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use opamp_operator_core::identity::{
    Authenticator, Bearer, Inquiry, JwtHome, JwtKeys, JwtRules, Presented, Proof, Sources, Trust,
    Verdict,
};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::{
    common::at,
    identity::{proved, trusting},
};

/// Whoever signs.
struct Issuer {
    key: EncodingKey,
    jwk: Value,
}

impl Issuer {
    fn new(id: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = id.into();
        Self { key, jwk }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }
}

fn header(id: &str) -> Header {
    Header {
        kid: Some(id.into()),
        ..Header::new(Algorithm::ES256)
    }
}

/// Good at `at(0)`, for ten minutes.
fn claims() -> Value {
    let start = at(0).wall.as_second();
    json!({
        "iss": "https://issuer.example.com",
        "aud": ["other", "opamp"],
        "sub": "job",
        "ns": "a",
        "env": "production",
        "exp": start + 600,
        "nbf": start - 600,
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

fn rules() -> JwtRules {
    JwtRules {
        issuer: "https://issuer.example.com".into(),
        audiences: vec!["opamp".into()],
        subject_claim: "sub".into(),
        namespace: JwtHome::Claim("ns".into()),
        required: vec![("env".into(), "production".into())],
    }
}

fn keys(jwks: &[&Value]) -> JwtKeys {
    JwtKeys::read(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn trust(rules: JwtRules, jwks: &[&Value]) -> Trust {
    trusting(Sources {
        authenticators: vec![Authenticator::Jwt {
            name: "ci".into(),
            rules: Arc::new(rules),
            keys: keys(jwks),
        }],
        homes: Some(["a".to_owned()].into()),
        ..Sources::default()
    })
}

fn judge(trust: &Trust, token: &str, seconds: u64) -> (Bearer, Proof) {
    let header = format!("bearer {token}");
    let presented = Presented::new(Vec::new(), Some(header.as_bytes()), None);
    let inquiry = trust.inquire(&presented, Some(header.as_bytes()), at(seconds));
    let Inquiry::Known(bearer) = inquiry else {
        panic!("nobody else is to be asked")
    };
    let proof = trust.verify(&presented, &bearer, at(seconds));
    (bearer, proof)
}

#[test]
fn law2_a_token_that_the_issuer_signed_names_its_subject() {
    let issuer = Issuer::new("one");
    let trust = trust(rules(), &[&issuer.jwk]);
    let token = issuer.sign(&header("one"), &claims());
    let Verdict { primary, lasts, .. } = proved(judge(&trust, &token, 0).1);
    assert_eq!(primary.unwrap().to_string(), "a/JWT/ci/job");
    assert_eq!(lasts, Some(at(600).wall));
    // Without the name of a key each is tried.
    let nameless = issuer.sign(&Header::new(Algorithm::ES256), &claims());
    proved(judge(&trust, &nameless, 0).1);
    let fixed = JwtRules {
        namespace: JwtHome::Namespace("a".into()),
        subject_claim: "env".into(),
        ..rules()
    };
    let identity = proved(judge(&self::trust(fixed, &[&issuer.jwk]), &token, 0).1).primary;
    assert_eq!(identity.unwrap().to_string(), "a/JWT/ci/production");
}

#[test]
fn law2_a_token_that_says_anything_else_proves_nobody() {
    let issuer = Issuer::new("one");
    let trust = trust(rules(), &[&issuer.jwk]);
    let wrong = [
        (
            "issuer",
            with(|c| c["iss"] = "https://other.example.com".into()),
        ),
        ("audience", with(|c| c["aud"] = "other".into())),
        (
            "no audience",
            with(|c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ),
        (
            "no end",
            with(|c| drop(c.as_object_mut().unwrap().remove("exp"))),
        ),
        ("end is no time", with(|c| c["exp"] = "tomorrow".into())),
        (
            "ended",
            with(|c| c["exp"] = (at(0).wall.as_second() - 61).into()),
        ),
        (
            "not begun",
            with(|c| c["nbf"] = (at(0).wall.as_second() + 61).into()),
        ),
        ("begin is no time", with(|c| c["nbf"] = "now".into())),
        (
            "no subject",
            with(|c| drop(c.as_object_mut().unwrap().remove("sub"))),
        ),
        ("subject is no text", with(|c| c["sub"] = 7.into())),
        ("subject is empty", with(|c| c["sub"] = "".into())),
        ("subject breaks lines", with(|c| c["sub"] = "a\nb".into())),
        (
            "subject is too long",
            with(|c| c["sub"] = "x".repeat(254).into()),
        ),
        ("namespace is nobody's home", with(|c| c["ns"] = "b".into())),
        ("required claim", with(|c| c["env"] = "test".into())),
    ];
    for (what, claims) in wrong {
        let token = issuer.sign(&header("one"), &claims);
        assert_eq!(judge(&trust, &token, 0).1, Proof::Refused, "{what}");
    }
    // The clocks may differ by a minute.
    let just = with(|c| c["exp"] = (at(0).wall.as_second() - 59).into());
    proved(judge(&trust, &issuer.sign(&header("one"), &just), 0).1);
}

#[test]
fn law2_a_token_that_the_issuer_did_not_sign_proves_nobody() {
    let (issuer, other) = (Issuer::new("one"), Issuer::new("one"));
    let trust = trust(rules(), &[&issuer.jwk]);
    let good = issuer.sign(&header("one"), &claims());
    proved(judge(&trust, &good, 0).1);
    let refused = |what: &str, token: &str| {
        assert_eq!(judge(&trust, token, 0).1, Proof::Refused, "{what}");
    };
    refused("another key", &other.sign(&header("one"), &claims()));
    refused(
        "the name of another key",
        &issuer.sign(&header("two"), &claims()),
    );
    let parts: Vec<_> = good.split('.').collect();
    let changed = other.sign(&header("one"), &with(|c| c["sub"] = "root".into()));
    let changed: Vec<_> = changed.split('.').collect();
    refused("other claims", &[parts[0], changed[1], parts[2]].join("."));
    refused("no signature", &[parts[0], parts[1], ""].join("."));
    refused("two parts", &[parts[0], parts[1]].join("."));
    refused("four parts", &format!("{good}.x"));
    refused("not base64url", &good.replace('.', "=."));
    // The public key as a secret that everybody knows.
    let public = issuer.jwk["x"].as_str().unwrap();
    let secret = EncodingKey::from_secret(public.as_bytes());
    let mut hmac = header("one");
    hmac.alg = Algorithm::HS256;
    refused("HMAC", &encode(&hmac, &claims(), &secret).unwrap());
    let none = [NONE, parts[1], parts[2]].join(".");
    refused("algorithm none", &none);
    let mut critical = header("one");
    critical.crit = Some(vec!["b64".into()]);
    refused(
        "a header that is critical",
        &issuer.sign(&critical, &claims()),
    );
}

/// `{"alg":"none"}`.
const NONE: &str = "eyJhbGciOiJub25lIn0";

#[test]
fn law2_keys_roll_over_and_one_that_left_vouches_for_nobody_any_more() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let token = old.sign(&header("old"), &claims());
    let (bearer, proof) = judge(&trust(rules(), &[&old.jwk, &new.jwk]), &token, 0);
    proved(proof);
    let presented = Presented::new(Vec::new(), Some(format!("Bearer {token}").as_bytes()), None);
    // A session that is judged again shows what was vouched for, not the token.
    let again = |jwks: &[&Value]| trust(rules(), jwks).verify(&presented, &bearer, at(700));
    proved(again(&[&old.jwk]));
    assert_eq!(again(&[&new.jwk]), Proof::Refused);
}

#[test]
fn law2_a_key_set_is_made_of_public_signing_keys() {
    let issuer = Issuer::new("one");
    let read = |set: Value| JwtKeys::read(set.to_string().as_bytes());
    let encrypting = {
        let mut jwk = issuer.jwk.clone();
        jwk["use"] = "enc".into();
        jwk
    };
    let secret = json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"});
    for (what, set) in [
        ("none", json!({"keys": []})),
        ("no set", json!([])),
        ("encryption", json!({"keys": [encrypting]})),
        ("a secret", json!({"keys": [secret]})),
        ("too many", json!({"keys": vec![issuer.jwk.clone(); 65]})),
    ] {
        assert!(read(set).is_err(), "{what}");
    }
    let unknown = json!({"kty": "LATTICE", "x": "y"});
    assert!(
        read(json!({"keys": [unknown, issuer.jwk]})).is_ok(),
        "what is unknown is left out"
    );
}

#[test]
fn law7_what_stands_where_a_key_set_should_be_is_not_quoted() {
    for misplaced in [json!("hunter2"), json!({"keys": "hunter2"})] {
        let error = JwtKeys::read(misplaced.to_string().as_bytes()).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("line 1"), "{error}");
    }
}

/// RFC 7517, section 5: an issuer may publish keys of kinds that came later.
#[test]
fn law8_one_key_that_is_not_understood_takes_no_other_with_it() {
    let issuer = Issuer::new("one");
    let strange = [
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "eA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "eA", "y": "eA"}),
        json!({"kty": "EC", "crv": "P-256"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "eA"}),
        json!({"kty": "RSA", "n": "eA"}),
        json!({"kty": "RSA", "n": "eA", "e": "AQAB", "alg": "RS999"}),
        json!({"kty": "RSA", "n": "eA", "e": "AQAB", "use": 7}),
        json!("not a key"),
    ];
    for jwk in strange {
        let set = json!({"keys": [jwk, issuer.jwk]});
        let read = JwtKeys::read(set.to_string().as_bytes());
        assert!(read.is_ok(), "{jwk}: {read:?}");
    }
}

#[test]
fn law9_a_token_may_end_when_time_does() {
    let issuer = Issuer::new("one");
    let trust = trust(rules(), &[&issuer.jwk]);
    let last = jiff::Timestamp::MAX.as_second();
    for end in [last, last + 1, 253_402_300_799, i64::MAX] {
        let token = issuer.sign(&header("one"), &with(|c| c["exp"] = end.into()));
        let verdict = proved(judge(&trust, &token, 0).1);
        assert!(verdict.primary.is_some(), "{end}");
    }
}

/// A cluster's own ServiceAccounts, and those of another cluster by its keys:
/// all for the one audience of this operator.
#[test]
fn law8_a_token_for_the_same_audience_of_an_issuer_that_the_api_does_not_know() {
    let issuer = Issuer::new("one");
    let cluster = Authenticator::ServiceAccount {
        name: "cluster".into(),
        audience: "opamp".into(),
    };
    let elsewhere = Authenticator::Jwt {
        name: "ci".into(),
        rules: Arc::new(rules()),
        keys: keys(&[&issuer.jwk]),
    };
    let trust = trusting(Sources {
        authenticators: vec![cluster, elsewhere],
        ..Sources::default()
    });
    let token = issuer.sign(&header("one"), &claims());
    let header = format!("Bearer {token}");
    let presented = Presented::new(Vec::new(), Some(header.as_bytes()), None);
    let bearer = match trust.inquire(&presented, Some(header.as_bytes()), at(0)) {
        Inquiry::Known(bearer) => bearer,
        // The API does not know it.
        Inquiry::Ask { otherwise, .. } => otherwise,
    };
    assert!(matches!(
        trust.verify(&presented, &bearer, at(0)),
        Proof::Proved(_)
    ));
}
