//! JSON Web Tokens, and the key sets that judge them.

use arbitrary::{Result, Unstructured};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use opamp_operator_core::identity::{
    Bearer, Inquiry, JwtKeys, Ledger, Presented, Proof, Vouched, claimed_audiences, claimed_expiry,
    is_jwt, judge,
};
use rcgen::{PublicKeyData as _, SigningKey as _};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::{
    seeds,
    world::{HOMES, ISSUER_NAME, WORLD, at, rules},
};

/// The first byte of an input of which a token is made: who signs it, the
/// length of its header in two bytes, the header, the claims.
pub(crate) const MADE: u8 = 0;
/// Longest text about a key set.
const MAX_MESSAGE: usize = 200;
/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 60;

/// Reads `data` as a token, as a set of keys, and as the parts of a token that
/// the issuer signs, or somebody else. Nobody is proved but by the issuer's
/// signature, and only whom its claims name, in time and for us.
pub fn jwt(data: &[u8]) {
    proves(data);
}

/// Whether a token proves somebody.
pub(crate) fn proves(data: &[u8]) -> bool {
    let Some((&MADE, rest)) = data.split_first() else {
        key_set(data);
        let vouched = judged(data);
        if let Some(vouched) = &vouched {
            // Nobody can sign: it is a token that was given out, whose last
            // part may be written in another way.
            let given = given_out(data);
            assert!(given, "law 2: nobody signed this for {}", vouched.identity);
        }
        return vouched.is_some();
    };
    let Ok(made) = made(rest) else { return false };
    let vouched = judged(&made.token);
    if let Some(vouched) = &vouched {
        made.allows(vouched);
    }
    vouched.is_some()
}

fn judged(token: &[u8]) -> Option<Vouched> {
    let audiences = claimed_audiences(token);
    let expiry = claimed_expiry(token);
    let claims = !audiences.is_empty() || expiry.is_some();
    assert!(!claims || is_jwt(token), "claims of what is no token");
    let keys = JwtKeys::read(WORLD.key_set.as_bytes()).expect("our own key set");
    let vouched = judge(ISSUER_NAME, &rules(), &keys, token, at(0));
    if let Some(vouched) = &vouched {
        assert_eq!(vouched.expires, expiry, "it ends when it says");
        assert!(audiences.contains(&"opamp".to_owned()), "law 2: for others");
    }
    let header = [b"Bearer ", token].concat();
    let presented = Presented::new(Vec::new(), Some(&header), None);
    let trust = WORLD.trust(&Ledger::default());
    let inquiry = trust.inquire(&presented, Some(&header), at(0));
    let Inquiry::Known(bearer) = &inquiry else {
        panic!("there is nobody to ask");
    };
    let proof = trust.verify(&presented, bearer, at(0));
    let printed = format!("{keys:?} {inquiry:?} {proof:?}");
    let shown = String::from_utf8_lossy(token);
    assert!(
        !is_jwt(token) || !printed.contains(&*shown),
        "law 7: {printed}"
    );
    match (&vouched, bearer) {
        (Some(one), Bearer::Vouched(other)) => assert_eq!(*one, **other),
        (None, Bearer::Nobody) => {}
        other => panic!("two answers: {other:?}"),
    }
    if let (Some(vouched), Proof::Proved(verdict)) = (&vouched, proof) {
        assert_eq!(verdict.primary.as_ref(), Some(&vouched.identity));
        let home = vouched.identity.namespace.as_str();
        assert!(HOMES.contains(&home), "law 2: at home in {home}");
    }
    vouched
}

/// Whether these are the first two parts of a token that a seed holds.
fn given_out(token: &[u8]) -> bool {
    let parts = |token: &[u8]| {
        let end = token.iter().rposition(|byte| *byte == b'.');
        end.map(|end| token[..end].to_vec())
    };
    let seeds = seeds::of("jwt");
    seeds.iter().any(|(_, seed)| parts(seed) == parts(token))
}

fn key_set(data: &[u8]) {
    let keys = match JwtKeys::read(data) {
        Ok(keys) => keys,
        Err(message) => {
            let quotes = message.contains(['"', '`']);
            assert!(!quotes && message.len() <= MAX_MESSAGE, "law 7: {message}");
            return;
        }
    };
    let token = sign(HEADER, CLAIMS.as_bytes(), Signer::Issuer);
    let x = URL_SAFE_NO_PAD.encode(WORLD.issuer.der_bytes());
    if judge(ISSUER_NAME, &rules(), &keys, &token, at(0)).is_some() {
        let named = data.windows(x.len()).any(|window| window == x.as_bytes());
        assert!(named, "law 2: proved by a key that is not there");
    }
    for secret in secrets(data) {
        let token = hmac(&unsigned(br#"{"alg":"HS256"}"#, CLAIMS.as_bytes()), &secret);
        let proved = judge(ISSUER_NAME, &rules(), &keys, &token, at(0));
        assert_eq!(proved, None, "law 2: whoever reads the set can sign");
    }
}

/// Symmetric keys in a set.
fn secrets(data: &[u8]) -> Vec<Vec<u8>> {
    let set: Value = serde_json::from_slice(data).unwrap_or_default();
    let keys = set["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| URL_SAFE_NO_PAD.decode(key["k"].as_str()?).ok())
        .collect()
}

/// A header and claims that are good.
pub(crate) const HEADER: &[u8] = br#"{"alg":"EdDSA","kid":"one","typ":"JWT"}"#;
pub(crate) const CLAIMS: &str = r#"{"iss":"https://issuer.example.com","aud":["x","opamp"],"sub":"job","ns":"a","env":"production","exp":1893456600,"nbf":1893455400}"#;

/// Who signs a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    Issuer,
    /// Somebody else, with a key of the same kind.
    Stranger,
    /// Anybody, with what is public of the issuer's key for a secret.
    PublicKey,
    Nobody,
}

pub(crate) const SIGNERS: [Signer; 4] = [
    Signer::Issuer,
    Signer::Stranger,
    Signer::PublicKey,
    Signer::Nobody,
];

struct Made<'a> {
    signer: Signer,
    header: &'a [u8],
    claims: &'a [u8],
    token: Vec<u8>,
}

fn made(data: &[u8]) -> Result<Made<'_>> {
    let mut input = Unstructured::new(data);
    let signer = SIGNERS[usize::from(input.arbitrary::<u8>()?) % SIGNERS.len()];
    let length = usize::from(input.arbitrary::<u16>()?).min(input.len());
    let header = input.bytes(length)?;
    let claims = input.take_rest();
    Ok(Made {
        signer,
        header,
        claims,
        token: sign(header, claims, signer),
    })
}

/// Writes a token.
pub(crate) fn sign(header: &[u8], claims: &[u8], signer: Signer) -> Vec<u8> {
    let text = unsigned(header, claims);
    let key = |key: &rcgen::KeyPair| key.sign(text.as_bytes()).expect("a signature");
    match signer {
        Signer::Issuer => signed(&text, &key(&WORLD.issuer)),
        Signer::Stranger => signed(&text, &key(&WORLD.stranger)),
        Signer::PublicKey => hmac(&text, WORLD.issuer.der_bytes()),
        Signer::Nobody => signed(&text, &[]),
    }
}

fn unsigned(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}")
}

fn signed(text: &str, signature: &[u8]) -> Vec<u8> {
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()
}

fn hmac(text: &str, secret: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    signed(text, &mac.chain_update(text).finalize().into_bytes())
}

impl Made<'_> {
    /// May it prove this, as far as its parts say?
    fn allows(&self, vouched: &Vouched) {
        assert_eq!(self.signer, Signer::Issuer, "law 2: {}", vouched.identity);
        let object = |text: &[u8]| {
            let object = serde_json::from_slice::<Map<String, Value>>(text);
            object.expect("law 2: what was read is an object")
        };
        let (header, claims) = (object(self.header), object(self.claims));
        assert_eq!(header["alg"], "EdDSA", "law 2: another signature");
        assert!(header.get("crit").is_none_or(Value::is_null), "RFC 7515");
        let among = |claim: &str, wanted: &str| match &claims[claim] {
            Value::String(text) => text == wanted,
            Value::Array(list) => list.iter().any(|item| item == wanted),
            _ => false,
        };
        assert!(among("iss", "https://issuer.example.com"), "law 2: issuer");
        assert!(among("aud", "opamp"), "law 2: audience");
        assert!(
            among("env", "production"),
            "law 2: a claim that it must have"
        );
        assert_eq!(claims["sub"], *vouched.identity.subject);
        assert_eq!(claims["ns"], *vouched.identity.namespace);
        for part in [&vouched.identity.subject, &vouched.identity.namespace] {
            assert!((1..=253).contains(&part.len()), "law 10: {part}");
            assert!(!part.chars().any(char::is_control), "law 7: {part:?}");
        }
        let now = at(0).wall.as_second();
        let ends = vouched.expires.expect("law 2: it has an end").as_second();
        assert!(now < ends + LEEWAY, "law 2: it ended");
        let begins = claims.get("nbf").and_then(Value::as_i64);
        assert!(begins.is_none_or(|at| at <= now + LEEWAY), "law 2: early");
    }
}
