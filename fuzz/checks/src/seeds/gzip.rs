//! Compressed bodies.

use flate2::{Compression, GzBuilder};
use opamp_wire::{Message as _, gzip};
use std::io::Write as _;

use super::{Seed, cut, frame};
use crate::gzip::LIMIT;

pub(super) fn seeds() -> Vec<Seed> {
    let good = gzip(&frame::agent().encode_to_vec());
    let mut checksum = good.clone();
    let at = checksum.len() - 5;
    checksum[at] ^= 1;
    // An extra field of 64 KiB, of which three bytes come.
    let mut extra = good[..10].to_vec();
    extra[3] = 4;
    extra.extend([0xff, 0xff, 1, 2, 3]);
    // A stored block whose length contradicts itself.
    let stored = [&good[..10], &[1, 0xff, 0xff, 0xff, 0xff]].concat();
    vec![
        ("empty", vec![]),
        ("empty-body", gzip(&[])),
        cut("cut", &good),
        ("wrong-checksum", checksum),
        ("two-members", [&good[..], &good].concat()),
        ("garbage-behind", [&good[..], b"garbage"].concat()),
        ("zeros-behind", [&good[..], &[0; 8]].concat()),
        ("good", good),
        ("bomb", gzip(&vec![0; 1 << 20])),
        ("bomb-in-members", gzip(&[0; LIMIT / 4]).repeat(16)),
        ("exactly-the-limit", gzip(&[b'a'; LIMIT])),
        ("one-over-the-limit", gzip(&[b'a'; LIMIT + 1])),
        ("extra-field-too-long", extra),
        ("stored-length-wrong", stored),
        ("header-with-everything", with_header()),
        ("a-header", b"identity, gzip".to_vec()),
    ]
}

fn with_header() -> Vec<u8> {
    let builder = GzBuilder::new()
        .filename("f")
        .comment("c")
        .extra("e")
        .mtime(1);
    let mut encoder = builder.write(Vec::new(), Compression::best());
    let written = encoder.write_all(b"content");
    written
        .and_then(|()| encoder.finish())
        .expect("a Vec takes every byte")
}
