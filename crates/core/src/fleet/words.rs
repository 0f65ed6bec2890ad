//! An agent's own words, fit for logs and statuses. What looks like a secret
//! cannot be told from what does not: `Passphrase`, `hunter` and `refused` are
//! all words. So only those that we expect are kept.

/// What TLS stacks, HTTP, Go's errors and OpAMP clients say of a connection.
const LEXICON: &str = "
    a about accept accepted after agent already algorithm allowed alert all an and any apply applied applying are as at
    attempt authority authorities authorization back bad be because been before broken by bundle but
    ca came cancelled canceled cannot certificate certificates chain cipher client close closed code common
    config configuration conflict connect connecting connection connections constraint constraints contain contains
    context could crypto current data date deadline decode decoding decrypt denied dial did didn't different dns do
    does doesn't doesnt domain down due duplicate ecdsa ed25519 empty encoding encrypted endpoint eof error errors
    exceeded exist expected expired extended extension extensions fail failed failure failing file find first for
    forbidden found from gateway get got had handshake has have header headers heartbeat host hostname http http2
    https i/o id in incompatible incomplete incorrect input instance insufficient intermediate internal
    invalid ip is issuer it its key keys last lookup longer lost malformed match matches matching max message
    method mismatch missing mtls mutual name names network new no none not nothing now of offer offered ok old on
    only opamp open opening operation or os other out parse parsing path peer pem permission permitted pipe policy
    port post presented private protocol provided proxy public read reading reason received reconnect refused
    rejected reload remote report reported request required reset resolve response restart retry retrying revoked
    root rsa sans scheme section self-signed send sending server service set settings short shutdown signature
    signed size sni ssl start started status still stop stopped store stream subject such supported switch syscall
    system tcp temporarily temporary than that the there time timed timeout tls to too tls1 transport trust trusted
    try trying type udp unable unauthorized unavailable unexpected unknown unmarshal unreachable unrecognized
    unsupported unsuccessful until upgrade url usage use used using valid validate validation value verification
    verified verify verifying version was websocket were when while will with within without write writing wrong
    ws wss x509 yet
";
/// Longer numbers may be anything.
const MAX_DIGITS: usize = 5;
const REMOVED: &str = "…";
const MAX_READ: usize = 4096;
const MAX_CHARS: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    Other,
}

/// One line, bounded; what is not known to be harmless is an ellipsis.
pub(super) fn clean(text: &str) -> String {
    let line: String = text.chars().take(MAX_READ).collect();
    let words: Vec<_> = line
        .split(|c: char| c.is_whitespace() || c.is_control())
        .map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()))
        .filter(|word| !word.is_empty())
        .map(|word| (word, kind(word)))
        .collect();
    let mut kept: Vec<&str> = Vec::new();
    for (i, (word, kind)) in words.iter().enumerate() {
        // A list of numbers may be bytes.
        let listed = |at: Option<usize>| at.and_then(|at| words.get(at)).map(|(_, kind)| *kind);
        let alone = [listed(i.checked_sub(1)), listed(Some(i + 1))]
            .iter()
            .all(|near| *near != Some(Kind::Number));
        match kind {
            Kind::Word => kept.push(word),
            Kind::Number if alone => kept.push(word),
            _ if kept.last() == Some(&REMOVED) => {}
            _ => kept.push(REMOVED),
        }
    }
    kept.join(" ").chars().take(MAX_CHARS).collect()
}

/// Longest name in a column.
const MAX_NAME_CHARS: usize = 63;
/// A longer run of letters and digits is no part of a name, and may be a key.
const MAX_NAME_RUN: usize = 32;

/// A name that an agent gives itself, in any script: one short line. None if
/// nothing is left, or if it looks like a secret that got there by mistake.
pub(super) fn name(text: &str) -> Option<String> {
    let read: String = text.chars().take(MAX_READ).collect();
    let in_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut runs = read.split(|c| !in_base64(c));
    let lower = read.to_lowercase();
    let looks_secret = runs.any(|run| run.len() > MAX_NAME_RUN || run.starts_with("eyJ"))
        || ["-----", "bearer ", "basic "]
            .iter()
            .any(|mark| lower.contains(mark));
    if looks_secret {
        return None;
    }
    let words = read.split_whitespace();
    let words: Vec<String> = words
        .map(|word| word.chars().filter(|c| is_visible(*c)).collect())
        .filter(|word: &String| !word.is_empty())
        .collect();
    let name: String = words.join(" ").chars().take(MAX_NAME_CHARS).collect();
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Neither a control character nor one that hides or turns text round.
fn is_visible(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !hidden
}

fn kind(word: &str) -> Kind {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let known = |known: &str| known.eq_ignore_ascii_case(word);
    if digits && word.len() <= MAX_DIGITS {
        Kind::Number
    } else if LEXICON.split_ascii_whitespace().any(known) {
        Kind::Word
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law7_what_clients_say_stays_readable() {
        let said = [
            (
                "x509: certificate signed by unknown authority",
                "x509 certificate signed by unknown authority",
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time \
                 2030-01-01T00:00:00Z is after 2029-12-31T23:59:59Z",
                "tls failed to verify certificate x509 certificate has expired or is not yet valid current time … is \
                 after …",
            ),
            (
                "dial tcp 10.0.0.1:4320: connect: connection refused",
                "dial tcp … connect connection refused",
            ),
            (
                "dial tcp: lookup opamp.example.com on 10.96.0.10:53: no such host",
                "dial tcp lookup … on … no such host",
            ),
            (
                "read tcp 10.0.0.2:51234->10.0.0.1:4320: read: connection reset by peer",
                "read tcp … read connection reset by peer",
            ),
            (
                "tls: private key does not match public key",
                "tls private key does not match public key",
            ),
            (
                "remote error: tls: bad certificate",
                "remote error tls bad certificate",
            ),
            (
                "x509: certificate is valid for a.example.com, not b.example.com",
                "x509 certificate is valid for … not …",
            ),
            (
                "Get \"https://opamp.example.com/v1/opamp\": context deadline exceeded",
                "Get … context deadline exceeded",
            ),
            (
                "websocket: bad handshake (status 401: Unauthorized)",
                "websocket bad handshake status 401 Unauthorized",
            ),
            ("unexpected EOF; i/o timeout", "unexpected EOF i/o timeout"),
            (
                "offered\n\u{1b}[31mopamp settings\u{0} failed",
                "offered … settings failed",
            ),
        ];
        for (text, expected) in said {
            assert_eq!(clean(text), expected);
        }
        assert_eq!(clean(&"not ".repeat(1000)).chars().count(), 256);
        assert_eq!(clean(&"zz".repeat(100_000)), "…");
    }

    #[test]
    fn law7_a_secret_is_removed_in_every_costume() {
        let secrets = [
            "s3cr3t-key-of-18ch",
            "correcthorsebatterystaple",
            "Passphrase",
            "q0Zr7XvLkT2mWn8Yc4HsJ9dPfE6aUg3iBoR1tNxKyVw",
            "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
            "c2VjcmV0IHNlY3JldA==",
            "deadbeefcafe0123",
            "123456",
            "p4ss/w0rd+x",
            "sécret",
        ];
        let costumes: [&dyn Fn(&str) -> String; 16] = [
            &|s| s.to_owned(),
            &|s| format!("\"{s}\""),
            &|s| format!("'{s}',"),
            &|s| format!("`{s}`."),
            &|s| format!("Bearer {s}"),
            &|s| format!("Authorization=Bearer:{s}"),
            &|s| format!("Authorization: Basic {s}"),
            &|s| format!("X-Api-Key: {s}"),
            &|s| format!("map[Authorization:[Bearer {s}]]"),
            &|s| format!("{{\"authorization\":\"{s}\"}}"),
            &|s| format!("{{ \"token\" : \"{s}\" }}"),
            &|s| format!("https://user:{s}@opamp.example.com/v1/opamp"),
            &|s| format!("token={s}&x=1"),
            &|s| format!("-----BEGIN PRIVATE KEY-----\n{s}\n-----END PRIVATE KEY-----"),
            &|s| format!("\u{201c}{s}\u{201d}"),
            &|s| s.to_uppercase(),
        ];
        for secret in secrets {
            for costume in costumes {
                let text = format!("tls: bad header {} connection refused", costume(secret));
                let cleaned = clean(&text);
                let shown = cleaned.to_lowercase().contains(&secret.to_lowercase());
                assert!(!shown, "{text}: {cleaned}");
                assert!(cleaned.starts_with("tls bad header"), "{cleaned}");
                assert!(cleaned.ends_with("connection refused"), "{cleaned}");
            }
        }
        assert_eq!(clean("key [113, 48, 90, 114]"), "key …");
        assert_eq!(clean("key 12345 67890"), "key …");
    }

    #[test]
    fn names_in_any_script_are_one_short_line() {
        for (text, expected) in [
            ("otelcol", "otelcol"),
            ("node-7.example.com", "node-7.example.com"),
            (
                "collector-agent-6b9f8c7d5-x2x4z",
                "collector-agent-6b9f8c7d5-x2x4z",
            ),
            (
                "01a20891-b7ad-7c66-98a9-bf813109bb82",
                "01a20891-b7ad-7c66-98a9-bf813109bb82",
            ),
            ("収集器 東京", "収集器 東京"),
            ("सेवा", "सेवा"),
            ("a\u{202e}b\u{200b}\n\u{1b}[31mc", "ab [31mc"),
        ] {
            assert_eq!(name(text).as_deref(), Some(expected), "{text:?}");
        }
        for nothing in ["", " \n\t", "\u{200b}\u{202e}", "\u{0}"] {
            assert_eq!(name(nothing), None, "{nothing:?}");
        }
        let long = name(&"語".repeat(65_536)).unwrap();
        assert_eq!(long.chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn law7_what_looks_like_a_secret_is_no_name() {
        for secret in [
            "-----BEGIN PRIVATE KEY-----",
            "Bearer abc",
            "host eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
            "q0Zr7XvLkT2mWn8Yc4HsJ9dPfE6aUg3iBoR1tNxKyVw",
            "0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(name(secret), None, "{secret}");
            let inside = format!("node {secret} of a rack");
            assert_eq!(name(&inside), None, "{inside}");
        }
    }

    proptest::proptest! {
        #[test]
        fn law10_a_name_is_bounded_whatever_it_is(text in ".*") {
            if let Some(name) = name(&text) {
                proptest::prop_assert!(name.chars().count() <= MAX_NAME_CHARS);
                proptest::prop_assert!(name.chars().all(is_visible));
                proptest::prop_assert_eq!(name.trim(), &name);
            }
        }

        #[test]
        fn law7_no_run_of_a_key_is_a_name(before in ".{0,20}", key in "[A-Za-z0-9+/]{33,90}={0,2}", after in ".{0,20}") {
            proptest::prop_assert_eq!(name(&format!("{before}{key}{after}")), None);
        }
    }

    #[test]
    fn the_lexicon_is_lower_case_and_names_no_word_twice() {
        let words: Vec<_> = LEXICON.split_ascii_whitespace().collect();
        let mut once = words.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), words.len());
        assert_eq!(LEXICON, LEXICON.to_ascii_lowercase());
    }
}
