//! Certificates, keys and bundles. Those of other keys than Ed25519 are made
//! with openssl; see `fuzz/README.md`.

use super::{Seed, cut};
use crate::{
    go,
    pem::{BEFORE_KEY, BLOCKS, LABELS, OF_KEY, text},
    world::WORLD,
};

/// Places in [`LABELS`].
const CERTIFICATE: u8 = 0;
const ENCRYPTED: u8 = 4;

#[expect(clippy::too_many_lines, reason = "one list of all that are made")]
pub(super) fn seeds() -> Vec<Seed> {
    let pair = &WORLD.clients[0];
    let (crt, key) = (pair.crt.as_str(), pair.key.as_str());
    let der = pair.der.to_vec();
    let [old, new] = &WORLD.cas;
    let client = with_key(crt, key);
    let key_der = go::blocks(key.as_bytes()).remove(0).1;
    let authority = go::blocks(old.as_bytes()).remove(0).1;
    let encrypted =
        String::from_utf8_lossy(&text("ENCRYPTED PRIVATE KEY", &[0x30, 0])).into_owned();
    let foreign =
        String::from_utf8_lossy(&text("OPENSSH PRIVATE KEY", b"openssh-key-v1")).into_owned();
    vec![
        ("empty", vec![]),
        ("blank", b"\n \n".to_vec()),
        cut("cut", crt.as_bytes()),
        ("client", client),
        (
            "client-of-another-key",
            with_key(crt, &WORLD.clients[1].key),
        ),
        ("client-without-key", with_key(crt, "\n")),
        ("server", with_key(&WORLD.server.crt, &WORLD.server.key)),
        ("chain", with_key(&format!("{crt}{}", WORLD.client_ca), key)),
        ("chain-out-of-order", with_key(&format!("{crt}{old}"), key)),
        (
            "carriage-returns-too",
            with_key(&crt.replace('\n', "\r\n"), key),
        ),
        (
            "carriage-returns-alone",
            with_key(&crt.replace('\n', "\r"), key),
        ),
        ("indented", with_key(&crt.replace('\n', "\n "), key)),
        (
            "text-behind-the-end",
            with_key(
                &crt.replace("END CERTIFICATE-----", "END CERTIFICATE-----x"),
                key,
            ),
        ),
        (
            "begun-twice",
            with_key(&format!("-----BEGIN CERTIFICATE-----\n{crt}"), key),
        ),
        (
            "headers-in-the-block",
            with_key(&crt.replacen("-----\n", "-----\nName: value\n\n", 1), key),
        ),
        (
            "encrypted-key-before-the-key",
            with_key(crt, &format!("{encrypted}{key}")),
        ),
        (
            "two-keys",
            with_key(crt, &format!("{key}{}", WORLD.server.key)),
        ),
        (
            "key-beside-the-certificate",
            with_key(&format!("{crt}{key}"), key),
        ),
        ("foreign-section", with_key(&format!("{foreign}{crt}"), key)),
        ("bundle", format!("# old\n{old}# new\n{new}").into_bytes()),
        (
            "bundle-not-utf8",
            [b"# \xff\xfe\n", old.as_bytes()].concat(),
        ),
        (
            "bundle-with-key",
            format!("{old}{}", WORLD.server.key).into_bytes(),
        ),
        ("blocks", blocks(&[(CERTIFICATE, 1, &der)])),
        (
            "blocks-with-key",
            blocks(&[(CERTIFICATE, 1, &der), (1 | OF_KEY, 1, &key_der)]),
        ),
        (
            "blocks-encrypted-key",
            blocks(&[(CERTIFICATE, 1, &der), (ENCRYPTED | OF_KEY, 1, &key_der)]),
        ),
        ("blocks-bundle", blocks(&[(CERTIFICATE, 1, &authority)])),
        (
            "blocks-der-cut",
            blocks(&[(CERTIFICATE, 1, &der[..der.len() - 9])]),
        ),
        (
            "blocks-der-length-too-long",
            blocks(&[(CERTIFICATE, 1, &too_long(&der))]),
        ),
        (
            "blocks-der-with-more",
            blocks(&[(CERTIFICATE, 1, &[&der[..], b"x"].concat())]),
        ),
        (
            "blocks-longer-than-tls-takes",
            blocks(&[
                (CERTIFICATE, 1, &der),
                (
                    CERTIFICATE,
                    255,
                    &go::blocks(WORLD.client_ca.as_bytes()).remove(0).1,
                ),
            ]),
        ),
    ]
}

fn with_key(crt: &str, key: &str) -> Vec<u8> {
    [crt.trim_end().as_bytes(), BEFORE_KEY, key.as_bytes()].concat()
}

fn blocks(blocks: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![BLOCKS];
    for (label, times, der) in blocks {
        assert!(usize::from(label & !OF_KEY) < LABELS.len());
        let length = u16::try_from(der.len()).expect("a seed is small");
        out.extend([*label, *times]);
        out.extend(length.to_le_bytes());
        out.extend_from_slice(der);
    }
    out
}

/// Says to be of 65535 bytes.
fn too_long(der: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    der[2..4].copy_from_slice(&[0xff, 0xff]);
    der
}
