//! Certificates, keys and bundles. Whatever is accepted is usable: by TLS, and
//! by agents, whose PEM reader is not ours.

use arbitrary::{Result, Unstructured};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use opamp_operator_core::{
    identity::{Authenticator, Bearer, Ledger, Presented},
    offer::{Bundle, ClientMaterial, MaterialError, Serving},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

use crate::{
    go,
    handshake::handshake,
    world::{WORLD, at},
};

/// Between the certificates and the key of a text; a text without it goes
/// with a key that is good for another.
pub(crate) const BEFORE_KEY: &[u8] = b"\n%%\n";
/// The first byte of an input that is DER in blocks, and no text: so that
/// changes reach the certificates themselves.
pub(crate) const BLOCKS: u8 = 0;
/// Of blocks; the last half of all numbers means those before a key.
pub(crate) const LABELS: [&str; 6] = [
    "CERTIFICATE",
    "PRIVATE KEY",
    "EC PRIVATE KEY",
    "RSA PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "X509 CRL",
];
/// Set in the number of a label: the block belongs to the key.
pub(crate) const OF_KEY: u8 = 0x80;
/// Longest message about material.
const MAX_MESSAGE: usize = 1000;

/// Reads `data` as a bundle, as a serving certificate and as a client's.
pub fn pem(data: &[u8]) {
    read(data);
}

/// What was accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) bundle: bool,
    pub(crate) serving: bool,
    pub(crate) client: bool,
}

pub(crate) fn read(data: &[u8]) -> Accepted {
    let (crt, key) = match data.split_first() {
        Some((&BLOCKS, rest)) => built(rest).unwrap_or_default(),
        _ => split(data),
    };
    for (_, der) in go::blocks(&crt) {
        shown(der);
    }
    Accepted {
        bundle: bundle(&crt),
        serving: serving(&crt, &key),
        client: client(&crt, &key),
    }
}

fn split(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut windows = data.windows(BEFORE_KEY.len());
    match windows.position(|window| window == BEFORE_KEY) {
        // The line break ends the certificates too.
        Some(at) => (data[..=at].to_vec(), data[at + BEFORE_KEY.len()..].to_vec()),
        None => (data.to_vec(), WORLD.clients[0].key.clone().into_bytes()),
    }
}

/// Blocks of label, times, length and content.
fn built(data: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut crt, mut key) = (Vec::new(), Vec::new());
    let mut input = Unstructured::new(data);
    while !input.is_empty() {
        let [label, times]: [u8; 2] = input.arbitrary()?;
        let length = usize::from(input.arbitrary::<u16>()?).min(input.len());
        let der = input.bytes(length)?;
        let name = LABELS[usize::from(label & !OF_KEY) % LABELS.len()];
        let to = if label & OF_KEY == 0 {
            &mut crt
        } else {
            &mut key
        };
        for _ in 0..times {
            to.extend(text(name, der));
        }
    }
    if key.is_empty() {
        key = WORLD.clients[0].key.clone().into_bytes();
    }
    Ok((crt, key))
}

/// A section of PEM.
pub(crate) fn text(label: &str, der: &[u8]) -> Vec<u8> {
    let data = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in data.as_bytes().chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend(format!("-----END {label}-----\n").bytes());
    text
}

fn bundle(pem: &[u8]) -> bool {
    let bundle = match Bundle::read(pem, "ca.crt", at(0)) {
        Ok(bundle) => bundle,
        Err(error) => return refused(&error, pem),
    };
    assert!(bundle.until.is_some_and(|until| at(0).wall < until));
    let read = go::certificates(&bundle.pem);
    assert_eq!(read, bundle.certificates, "agents read another bundle");
    // An anchor that webpki does not take makes it none; it is said.
    if let Err(error) = Authenticator::certificate("clients", "a", &bundle.certificates) {
        assert!(error.to_string().len() <= MAX_MESSAGE);
    }
    true
}

fn serving(crt: &[u8], key: &[u8]) -> bool {
    let serving = match Serving::read(crt, key, at(0)) {
        Ok(serving) => serving,
        Err(error) => return refused(&error, &[crt, key].concat()),
    };
    assert!(at(0).wall < serving.not_after);
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key that was read");
    let done = handshake((serving.chain, key), None);
    assert_eq!(done, Ok(()), "nobody can connect to this certificate");
    true
}

fn client(crt: &[u8], key: &[u8]) -> bool {
    let material = match ClientMaterial::read(crt, key, at(0)) {
        Ok(material) => material,
        Err(error) => return refused(&error, &[crt, key].concat()),
    };
    assert!(at(0).wall < material.validity.not_after);
    assert!(material.validity.not_before <= at(0).wall);
    let chain = go::certificates(&material.chain_pem);
    assert_eq!(chain, material.chain, "agents read another chain");
    let key = go::only_key(&material.key_pem);
    let server = (vec![WORLD.server.der.clone()], WORLD.server.private_key());
    let done = handshake(server, Some((chain, key)));
    assert_eq!(done, Ok(()), "nobody can connect with this certificate");
    true
}

/// A certificate that a client shows: anything, of whose key it is the holder.
fn shown(der: Vec<u8>) {
    let presented = Presented::new(vec![der.into()], None, None);
    let _ = presented.not_after();
    let trust = WORLD.trust(&Ledger::default());
    let _ = trust.verify(&presented, &Bearer::Nobody, at(0));
}

/// A refusal names what is wrong, and quotes nothing of it.
fn refused(error: &MaterialError, material: &[u8]) -> bool {
    let message = error.to_string();
    assert!(message.len() <= MAX_MESSAGE, "{} bytes", message.len());
    assert!(error.until.is_none_or(|until| at(0).wall < until));
    let is_data = |line: &[u8]| {
        let mut bytes = line.iter();
        line.len() >= 32 && bytes.all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b))
    };
    for line in material
        .split(|byte| *byte == b'\n')
        .filter(|line| is_data(line))
    {
        let line = String::from_utf8_lossy(line);
        assert!(!message.contains(&*line), "{message}");
    }
    false
}
