//! Writes PEM, the one form that everybody reads (RFC 7468, section 3).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

const LINE: usize = 64;

/// Certificates, one after the other.
pub(super) fn certificates(chain: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for certificate in chain {
        section("CERTIFICATE", certificate, &mut out);
    }
    out
}

/// A private key.
pub(super) fn key(key: &PrivateKeyDer<'_>) -> Zeroizing<Vec<u8>> {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    // Room for all of it: a buffer that grows leaves copies behind.
    let mut out = Vec::with_capacity(key.secret_der().len() * 3 / 2 + 2 * LINE);
    section(label, key.secret_der(), &mut out);
    Zeroizing::new(out)
}

fn section(label: &str, der: &[u8], out: &mut Vec<u8>) {
    let data = Zeroizing::new(STANDARD.encode(der));
    out.extend(format!("-----BEGIN {label}-----\n").bytes());
    for line in data.as_bytes().chunks(LINE) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend(format!("-----END {label}-----\n").bytes());
}
