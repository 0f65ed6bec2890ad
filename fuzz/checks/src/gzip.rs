//! Compressed bodies: as sent by anybody, and as made here and then damaged.

use std::io::Write as _;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use opamp_wire::{BodyError, Encoding, decompress};

/// As good as any: small, so that it is often reached.
pub(crate) const LIMIT: usize = 16 * 1024;

/// Decompresses `data`, and what is made by its rules. No more than the limit
/// ever comes out, and where the limit is decides nothing but that.
pub fn gzip(data: &[u8]) {
    sent(data);
    identity(data);
    if let Ok(made) = Made::arbitrary(&mut Unstructured::new(data)) {
        made.check();
    }
}

fn sent(data: &[u8]) {
    let unpack = |limit| decompress(Encoding::Gzip, data, limit);
    match unpack(LIMIT) {
        Ok(body) => {
            let size = body.len();
            assert!(size <= LIMIT, "{size} bytes came out");
            assert_eq!(unpack(size).as_ref(), Ok(&body));
            assert_eq!(unpack(usize::MAX).as_ref(), Ok(&body));
            if let Some(limit) = size.checked_sub(1) {
                assert_eq!(unpack(limit), Err(BodyError::TooLarge { limit }));
            }
            let room = body.try_into_mut().map_or(size, |body| body.capacity());
            assert!(room <= 2 * LIMIT, "{size} bytes in {room}");
        }
        Err(BodyError::TooLarge { limit }) => {
            assert_eq!(limit, LIMIT);
            let limit = LIMIT / 2;
            assert_eq!(unpack(limit), Err(BodyError::TooLarge { limit }));
        }
        Err(error) => {
            assert_eq!(unpack(2 * LIMIT), Err(error));
            assert!(unpack(LIMIT / 2).is_err());
        }
    }
}

fn identity(data: &[u8]) {
    let unpack = |limit| decompress(Encoding::Identity, data, limit);
    assert_eq!(unpack(data.len()), Ok(Bytes::copy_from_slice(data)));
    if let Some(limit) = data.len().checked_sub(1) {
        assert_eq!(unpack(limit), Err(BodyError::TooLarge { limit }));
    }
    // As the value of a header.
    if let Ok(value) = std::str::from_utf8(data) {
        let known = Encoding::parse(value);
        assert!(known.is_ok() || known == Err(BodyError::Encoding));
    }
}

/// A body of several members, whose content is known.
#[derive(Arbitrary)]
struct Made {
    limit: u16,
    damage: Damage,
    members: Vec<Member>,
}

#[derive(Arbitrary)]
struct Member {
    level: u8,
    name: Option<Vec<u8>>,
    extra: Option<Vec<u8>>,
    comment: Option<Vec<u8>>,
    /// Repeated, so that little makes much.
    content: Vec<u8>,
    times: u8,
}

#[derive(Arbitrary)]
enum Damage {
    None,
    Cut(u16),
    Flip(u16, u8),
    Append(Vec<u8>),
}

impl Made {
    fn check(&self) {
        let (mut content, mut packed, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for member in self.members.iter().take(8) {
            content.extend(member.content.repeat(member.times.into()));
            packed.extend(member.packed());
            ends.push(packed.len());
        }
        let limit = usize::from(self.limit);
        let whole = match content.len() {
            size if size > limit => Err(BodyError::TooLarge { limit }),
            _ => Ok(Bytes::from(content)),
        };
        match &self.damage {
            Damage::None if packed.is_empty() => {}
            Damage::None => assert_eq!(decompress(Encoding::Gzip, &packed, limit), whole),
            Damage::Cut(at) => {
                packed.truncate(usize::from(*at) % (packed.len() + 1));
                let told = decompress(Encoding::Gzip, &packed, limit);
                assert!(
                    told.is_err() || ends.contains(&packed.len()),
                    "a part is taken for all"
                );
            }
            Damage::Flip(at, mask) => {
                let at = usize::from(*at) % packed.len().max(1);
                if let Some(byte) = packed.get_mut(at) {
                    *byte ^= mask;
                }
                sent(&packed);
            }
            Damage::Append(more) => {
                packed.extend(more);
                sent(&packed);
            }
        }
    }
}

impl Member {
    fn packed(&self) -> Vec<u8> {
        // A zero ends these two.
        let text = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|byte| byte | 1).collect() };
        let mut builder = GzBuilder::new();
        if let Some(name) = &self.name {
            builder = builder.filename(text(name));
        }
        if let Some(comment) = &self.comment {
            builder = builder.comment(text(comment));
        }
        if let Some(extra) = self
            .extra
            .as_ref()
            .filter(|e| e.len() < usize::from(u16::MAX))
        {
            builder = builder.extra(extra.clone());
        }
        let level = Compression::new(u32::from(self.level % 10));
        let mut encoder = builder.write(Vec::new(), level);
        let written = encoder.write_all(&self.content.repeat(self.times.into()));
        written
            .and_then(|()| encoder.finish())
            .expect("a Vec takes every byte")
    }
}
