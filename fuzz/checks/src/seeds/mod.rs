//! The seeds that were made on purpose: what is good, what is empty, cut or
//! too long, and what caught somebody once. `cargo run -p fuzz-checks` writes
//! them; they are the same every time.

mod body;
mod frame;
mod gzip;
mod jwt;
mod pem;
mod profile;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A seed: what it shows, and its bytes.
pub type Seed = (&'static str, Vec<u8>);

/// Where `seeds` and `crashes` are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Those of a target.
#[must_use]
pub fn of(target: &str) -> Vec<Seed> {
    match target {
        "body" => body::seeds(),
        "frame" => frame::seeds(),
        "gzip" => gzip::seeds(),
        "jwt" => jwt::seeds(),
        "pem" => pem::seeds(),
        "profile" => profile::seeds(),
        _ => Vec::new(),
    }
}

/// Writes the seeds of all targets.
///
/// # Errors
/// Those of the file system.
pub fn write() -> io::Result<()> {
    for (target, _) in crate::TARGETS {
        let folder = folder().join("seeds").join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in of(target) {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

/// A seed that is the first part of another.
fn cut(name: &'static str, whole: &[u8]) -> Seed {
    (name, whole[..whole.len() * 2 / 3].to_vec())
}

/// A seed that no longer reaches what it was made for checks nothing.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{body::play, jwt::proves, pem::Accepted, pem::read, profile::offers};

    fn seed(target: &str, name: &str) -> Vec<u8> {
        let mut seeds = of(target).into_iter();
        let found = seeds.find(|seed| seed.0 == name);
        found.unwrap_or_else(|| panic!("no seed {name}")).1
    }

    #[test]
    fn stories_bring_offers() {
        for (name, expected) in [
            ("offered", 1),
            ("failed-and-tried-again", 2),
            ("applied-as-reported", 1),
            ("applied-and-said-on-the-old-link", 1),
            ("applied-as-shown", 1),
            ("a-second-revision", 2),
            ("one-first-and-not-this-one", 2),
            ("closed-paused-held-nothing", 1),
            ("selected-by-what-it-says", 1),
            ("incapable", 0),
            ("capability-taken-back", 2),
            ("offered-too-often", 10),
            ("described-at-length", 1),
            ("a-gateway", 1),
            ("nobody-and-a-tenant", 1),
            ("after-the-certificate", 1),
            ("shown-by-parts", 1),
            ("anything-shown", 0),
            ("polls-until-applied", 2),
            ("polls-compressed", 1),
            ("polls-badly-compressed", 1),
            ("polls-a-bomb", 0),
            ("polls-nothing", 0),
            ("polls-and-leaves", 1),
            ("a-ghost-and-who-comes-after-it", 1),
            ("more-agents-than-places", 0),
        ] {
            let sent = play(&seed("body", name)).offers().len();
            assert_eq!(sent, expected, "{name}");
        }
        let again = play(&seed("body", "offered-without-an-answer"));
        assert!(again.offers().len() > 3, "{}", again.offers().len());
    }

    #[test]
    fn certificates_are_accepted_or_refused() {
        for (name, bundle, serving, client) in [
            ("empty", false, false, false),
            ("cut", false, false, false),
            ("client", true, true, true),
            ("client-of-another-key", true, false, false),
            ("server", true, true, false),
            ("chain", true, true, true),
            ("chain-out-of-order", true, false, false),
            ("carriage-returns-alone", true, true, true),
            ("text-behind-the-end", true, true, true),
            ("encrypted-key-before-the-key", true, true, true),
            ("two-keys", true, true, true),
            ("key-beside-the-certificate", false, false, false),
            ("foreign-section", true, true, true),
            ("bundle", true, false, false),
            ("bundle-not-utf8", true, false, false),
            ("blocks", true, true, true),
            ("blocks-with-key", true, true, true),
            ("blocks-longer-than-tls-takes", true, false, false),
        ] {
            let expected = Accepted {
                bundle,
                serving,
                client,
            };
            assert_eq!(read(&seed("pem", name)), expected, "{name}");
        }
    }

    #[test]
    fn keys_of_other_kinds_are_accepted() {
        for (name, expected) in [
            ("openssl-rsa-pkcs1", true),
            ("openssl-p256-sec1", true),
            ("openssl-p384-pkcs8", true),
            ("openssl-x509-v1", false),
        ] {
            let file = folder().join("seeds/pem").join(name);
            let accepted = read(&fs::read(file).expect(name));
            assert_eq!(accepted.serving, expected, "{name}");
            assert_eq!(accepted.client, expected, "{name}");
        }
    }

    #[test]
    fn tokens_prove_somebody_or_nobody() {
        for (name, bytes) in of("jwt") {
            let proved = [
                "token",
                "made",
                "header-without-key",
                "header-with-its-own-key",
                "claims-issuer-list",
                "claims-audience-text",
                "claims-ended-just-now",
                "claims-end-fraction",
                "claims-end-beyond-time",
                "claims-in-a-list",
                "claims-at-home-elsewhere",
            ];
            assert_eq!(proves(&bytes), proved.contains(&name), "{name}");
        }
    }

    #[test]
    fn profiles_bring_offers() {
        for (name, expected) in [
            ("minimal.yaml", 1),
            ("full.yaml", 1),
            ("two.yaml", 2),
            ("json.json", 1),
            ("list.yaml", 1),
            ("https.yaml", 1),
            ("address.yaml", 1),
            ("address-as-number.yaml", 1),
            ("query.yaml", 1),
            ("token.yaml", 1),
            ("own-token.yaml", 1),
            ("strict.yaml", 1),
            ("strict-without-ca.yaml", 1),
            ("strict-ca-is-no-pem.yaml", 0),
            ("strict-ca-has-a-key.yaml", 0),
            ("mismatch.yaml", 0),
            ("token-weak.yaml", 0),
            ("system-cas.yaml", 0),
            ("empty", 0),
        ] {
            assert_eq!(offers(&seed("profile", name)), expected, "{name}");
        }
    }
}
