//! PEM as agents read it. They are written in Go, whose reader looks for other
//! ends of lines and sections than ours and passes over what it cannot read:
//! a text that both take must mean the same to both.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
/// The last bits of the data may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const DASHES: &[u8] = b"-----";

/// A section: label, and what is in it.
pub(crate) type Block = (String, Vec<u8>);

/// All sections that Go's `encoding/pem` finds in a text; one with headers of
/// its own counts as another label, since Go's certificate pools leave it out.
pub(crate) fn blocks(text: &[u8]) -> Vec<Block> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut at_line_start = true;
    while let Some(start) = begin(rest, at_line_start) {
        rest = &rest[start..];
        at_line_start = false;
        if let Some((block, after)) = section(rest) {
            found.push(block);
            rest = after;
            at_line_start = true;
        }
    }
    found
}

/// The certificates of a text that holds nothing else.
pub(crate) fn certificates(text: &[u8]) -> Vec<CertificateDer<'static>> {
    let only = |(label, der): Block| {
        assert_eq!(label, "CERTIFICATE", "more than certificates");
        der.into()
    };
    blocks(text).into_iter().map(only).collect()
}

/// The key of a text that holds nothing else.
pub(crate) fn only_key(text: &[u8]) -> PrivateKeyDer<'static> {
    let mut keys = blocks(text);
    assert_eq!(keys.len(), 1, "one key");
    let (label, der) = keys.remove(0);
    match label.as_str() {
        "PRIVATE KEY" => PrivateKeyDer::Pkcs8(der.into()),
        "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der.into()),
        "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der.into()),
        other => panic!("agents know no key like {other}"),
    }
}

/// Where the text after the next `BEGIN ` starts; that counts only at the
/// start of a line.
fn begin(text: &[u8], at_line_start: bool) -> Option<usize> {
    if at_line_start && text.starts_with(BEGIN) {
        return Some(BEGIN.len());
    }
    let at = find(text, &[b"\n", BEGIN].concat())?;
    Some(at + 1 + BEGIN.len())
}

/// A section whose label starts here, and the text after it.
fn section(text: &[u8]) -> Option<(Block, &[u8])> {
    let (first, mut rest) = line(text);
    let mut label = String::from_utf8_lossy(first.strip_suffix(DASHES)?).into_owned();
    let trailer = [label.as_bytes(), DASHES].concat();
    let mut headers = false;
    loop {
        let (next, after) = line(rest);
        if rest.is_empty() || !next.contains(&b':') {
            break;
        }
        headers = true;
        rest = after;
    }
    // Only an empty section ends where it starts.
    let (data, after) = match rest.strip_prefix(&END[1..]) {
        Some(after) if !headers => (&[][..], after),
        _ => {
            let end = find(rest, END)?;
            (&rest[..end], &rest[end + END.len()..])
        }
    };
    let (left, after) = line(after.strip_prefix(&trailer[..])?);
    if !left.is_empty() {
        return None;
    }
    let is_data = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let data: Vec<u8> = data.iter().copied().filter(is_data).collect();
    let data = BASE64.decode(data).ok()?;
    if headers {
        label.push_str(" with headers");
    }
    Some(((label, data), after))
}

/// The first line without the space at its end, and the rest.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    let end = line
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
    (&line[..end.map_or(0, |at| at + 1)], rest)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        blocks(text.as_bytes()).into_iter().map(|b| b.0).collect()
    }

    #[test]
    fn what_go_reads_and_what_it_passes_over() {
        let good = "-----BEGIN A-----\nAAAA\n-----END A-----\n";
        assert_eq!(blocks(good.as_bytes()), [("A".to_owned(), vec![0; 3])]);
        assert_eq!(labels(&format!("text\n{good}{good}")), ["A", "A"]);
        assert_eq!(labels(&good.replace('\n', "\r\n")), ["A"]);
        assert_eq!(labels("-----BEGIN A-----\n-----END A-----"), ["A"]);
        let headers = "-----BEGIN A-----\nK: v\n\nAAAA\n-----END A-----\n";
        assert_eq!(labels(headers), ["A with headers"]);
        assert_eq!(labels(&good.replace("AAAA", "AB==")), ["A"]);
        for passed_over in [
            &format!(" {good}"),
            &good.replace('\n', "\r"),
            &good.replace("AAAA", "AAA"),
            &good.replace("AAAA", "A-AA"),
            &good.replace("END A", "END B"),
            &good.replace("END A-----", "END A-----x"),
            &good.replace("BEGIN A-----", "BEGIN A----"),
            &good.replace("-----END A-----\n", ""),
        ] {
            assert!(labels(passed_over).is_empty(), "{passed_over}");
            let labels = labels(&format!("{passed_over}\n{good}"));
            assert!(labels.len() <= 1, "{passed_over}");
        }
    }
}
