//! Tokens, their parts, and key sets.

use super::{Seed, cut};
use crate::{
    jwt::{CLAIMS, HEADER, MADE, Signer, sign},
    world::WORLD,
};

#[expect(clippy::too_many_lines, reason = "one list of all that are made")]
pub(super) fn seeds() -> Vec<Seed> {
    let good = sign(HEADER, CLAIMS.as_bytes(), Signer::Issuer);
    let text = String::from_utf8_lossy(&good).into_owned();
    let with = |from: &str, to: &str| {
        assert!(CLAIMS.contains(from), "{from}");
        made(Signer::Issuer, HEADER, &CLAIMS.replace(from, to))
    };
    let header = |header: &str| made(Signer::Issuer, header.as_bytes(), CLAIMS);
    let signed = |header: &str, signer| made(signer, header.as_bytes(), CLAIMS);
    let long = "x".repeat(254);
    vec![
        ("empty", vec![]),
        ("points", b"..".to_vec()),
        cut("token-cut", &good),
        ("token-with-a-fourth-part", format!("{text}.x").into_bytes()),
        ("token-padded", format!("{text}==").into_bytes()),
        (
            "token-ended",
            sign(HEADER, ended().as_bytes(), Signer::Issuer),
        ),
        (
            "token-of-a-stranger",
            sign(HEADER, CLAIMS.as_bytes(), Signer::Stranger),
        ),
        ("token", good),
        ("made", made(Signer::Issuer, HEADER, CLAIMS)),
        ("made-by-a-stranger", made(Signer::Stranger, HEADER, CLAIMS)),
        (
            "made-by-nobody",
            signed(r#"{"alg":"none"}"#, Signer::Nobody),
        ),
        (
            "made-with-the-public-key",
            signed(r#"{"alg":"HS256","kid":"one"}"#, Signer::PublicKey),
        ),
        ("header-without-key", header(r#"{"alg":"EdDSA"}"#)),
        (
            "header-of-another-key",
            header(r#"{"alg":"EdDSA","kid":"two"}"#),
        ),
        (
            "header-critical",
            header(r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#),
        ),
        (
            "header-with-its-own-key",
            header(r#"{"alg":"EdDSA","jwk":{"kty":"oct","k":"AA"}}"#),
        ),
        ("header-twice", header(r#"{"alg":"EdDSA","alg":"none"}"#)),
        ("header-no-json", header("EdDSA")),
        ("claims-empty", made(Signer::Issuer, HEADER, "{}")),
        ("claims-no-object", made(Signer::Issuer, HEADER, "[]")),
        (
            "claims-deep",
            made(Signer::Issuer, HEADER, &"[".repeat(2_000)),
        ),
        (
            "claims-of-another-issuer",
            with("issuer.example.com", "issuer.example.org"),
        ),
        (
            "claims-issuer-list",
            with(
                r#""https://issuer.example.com""#,
                r#"["x","https://issuer.example.com"]"#,
            ),
        ),
        (
            "claims-issuer-twice",
            with(r#""sub""#, r#""iss":"x","sub""#),
        ),
        ("claims-for-others", with("\"opamp\"", "\"others\"")),
        (
            "claims-audience-text",
            with(r#"["x","opamp"]"#, "\"opamp\""),
        ),
        ("claims-ended", made(Signer::Issuer, HEADER, &ended())),
        ("claims-ended-just-now", with("1893456600", "1893455941")),
        ("claims-end-fraction", with("1893456600", "1893456600.9")),
        ("claims-end-huge", with("1893456600", "1e300")),
        ("claims-end-negative", with("1893456600", "-1e300")),
        ("claims-end-beyond-time", with("1893456600", "253402207201")),
        ("claims-end-text", with("1893456600", "\"1893456600\"")),
        ("claims-early", with("1893455400", "1893456061")),
        (
            "claims-early-huge",
            with("1893455400", "9223372036854775807"),
        ),
        (
            "claims-in-a-list",
            with("\"production\"", "[\"test\",\"production\"]"),
        ),
        ("claims-of-test", with("production", "test")),
        ("claims-subject-empty", with("\"job\"", "\"\"")),
        ("claims-subject-number", with("\"job\"", "7")),
        ("claims-subject-line", with("\"job\"", "\"a\\nb\"")),
        ("claims-subject-long", with("job", &long)),
        (
            "claims-at-home-elsewhere",
            with("\"ns\":\"a\"", "\"ns\":\"c\""),
        ),
        ("keys", WORLD.key_set.clone().into_bytes()),
        ("keys-none", br#"{"keys":[]}"#.to_vec()),
        ("keys-too-many", many_keys()),
        (
            "keys-symmetric",
            br#"{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}"#.to_vec(),
        ),
        ("keys-symmetric-beside-a-good-one", beside_a_good_one()),
        (
            "keys-for-encryption",
            WORLD.key_set.replace("\"sig\"", "\"enc\"").into_bytes(),
        ),
        (
            "keys-of-another-kind",
            WORLD.key_set.replace("EdDSA", "ES256").into_bytes(),
        ),
        (
            "keys-rsa",
            br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"RSA","n":"","e":""}]}"#
                .to_vec(),
        ),
        (
            "keys-ec",
            br#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#.to_vec(),
        ),
        // Something else that somebody put there, and that is not to be quoted.
        (
            "keys-a-secret-instead",
            format!("{:?}", "s3cr3t ".repeat(40)).into_bytes(),
        ),
        (
            "keys-a-secret-for-kind",
            format!(r#"{{"keys":[{{"kty":"{long}"}}]}}"#).into_bytes(),
        ),
    ]
}

fn ended() -> String {
    CLAIMS.replace("1893456600", "1893455940")
}

fn made(signer: Signer, header: &[u8], claims: &str) -> Vec<u8> {
    let length = u16::try_from(header.len()).expect("a seed is small");
    let mut out = vec![MADE, signer as u8];
    out.extend(length.to_le_bytes());
    out.extend_from_slice(header);
    out.extend(claims.bytes());
    out
}

fn beside_a_good_one() -> Vec<u8> {
    let set = &WORLD.key_set;
    set.replace(
        "{\"keys\":[",
        r#"{"keys":[{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"},"#,
    )
    .into_bytes()
}

fn many_keys() -> Vec<u8> {
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#;
    format!(r#"{{"keys":[{}]}}"#, vec![key; 65].join(",")).into_bytes()
}
