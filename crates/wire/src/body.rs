//! Bodies of plain HTTP exchanges: content encodings and their limit.

use std::io::{ErrorKind, Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use thiserror::Error;

/// Capacity a decompressed body starts with; it grows as it is read, since an
/// announced size would be the sender's claim.
const FIRST_CAPACITY: usize = 4 * 1024;

/// The content encodings of this protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
}

/// Why a body could not be read. Says nothing of what it contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// An encoding that was not agreed on; 415.
    #[error("content encoding is not supported; use gzip or identity")]
    Encoding,
    /// More than the limit, counted after decompression; 413.
    #[error("body is larger than {limit} bytes; send less or raise the limit")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not what the encoding says; 400.
    #[error("body is not valid gzip; check what compresses it")]
    Gzip,
}

impl Encoding {
    /// Reads the value of a `Content-Encoding` header; a request without one
    /// is [`Encoding::Identity`].
    ///
    /// # Errors
    ///
    /// [`BodyError::Encoding`] for anything but gzip, once, and identity.
    pub fn parse(value: &str) -> Result<Self, BodyError> {
        let mut found = Self::Identity;
        for coding in value.split(',').map(str::trim) {
            let is = |name| coding.eq_ignore_ascii_case(name);
            if coding.is_empty() || is("identity") {
                continue;
            }
            if found == Self::Gzip || !(is("gzip") || is("x-gzip")) {
                return Err(BodyError::Encoding);
            }
            found = Self::Gzip;
        }
        Ok(found)
    }
}

/// Decodes a body. Never holds more than the limit and one byte of it, apart
/// from the spare room of a growing buffer.
///
/// # Errors
///
/// [`BodyError::TooLarge`] as soon as the result would exceed `limit` bytes,
/// [`BodyError::Gzip`] for damaged or truncated input.
pub fn decompress(encoding: Encoding, body: &[u8], limit: usize) -> Result<Bytes, BodyError> {
    match encoding {
        Encoding::Identity if body.len() > limit => Err(BodyError::TooLarge { limit }),
        Encoding::Identity => Ok(Bytes::copy_from_slice(body)),
        Encoding::Gzip => gunzip(body, limit),
    }
}

fn gunzip(body: &[u8], limit: usize) -> Result<Bytes, BodyError> {
    // One byte more tells 'exactly the limit' from 'over it'.
    let most = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut out = Vec::with_capacity(FIRST_CAPACITY.min(limit));
    let mut reader = MultiGzDecoder::new(body).take(most);
    match reader.read_to_end(&mut out) {
        Ok(_) if out.len() > limit => Err(BodyError::TooLarge { limit }),
        Ok(_) => Ok(out.into()),
        Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(BodyError::TooLarge { limit }),
        Err(_) => Err(BodyError::Gzip),
    }
}

/// Compresses a body.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "writing into a Vec has no way to fail, and the encoder adds none"
)]
pub fn gzip(body: &[u8]) -> Vec<u8> {
    // Fast: settings are PEM, which no level makes small, and a poll waits.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(body);
    written
        .and_then(|()| encoder.finish())
        .expect("a Vec takes every byte")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t07_content_encodings() {
        for value in ["", "identity", " Identity ", ",", "identity,"] {
            assert_eq!(Encoding::parse(value), Ok(Encoding::Identity), "{value}");
        }
        for value in ["gzip", "GZIP", "x-gzip", "identity, gzip"] {
            assert_eq!(Encoding::parse(value), Ok(Encoding::Gzip), "{value}");
        }
        for value in ["br", "deflate", "gzip, gzip", "gzip;q=1", "gzip, zstd"] {
            assert_eq!(Encoding::parse(value), Err(BodyError::Encoding), "{value}");
        }
    }

    #[test]
    fn t08_limit_counts_what_comes_out() {
        let body = vec![b'a'; 5_000];
        let small = gzip(&body);
        assert!(small.len() < 100);
        for (encoding, data) in [(Encoding::Identity, &body), (Encoding::Gzip, &small)] {
            assert_eq!(decompress(encoding, data, 5_000).unwrap(), body);
            let over = Err(BodyError::TooLarge { limit: 4_999 });
            assert_eq!(decompress(encoding, data, 4_999), over);
        }
        let over = Err(BodyError::TooLarge { limit: 0 });
        assert_eq!(decompress(Encoding::Gzip, &small, 0), over);
        let empty = decompress(Encoding::Gzip, &gzip(&[]), 0);
        assert_eq!(empty, Ok(Bytes::new()));
        // The largest limit there is must not wrap around.
        assert_eq!(
            decompress(Encoding::Gzip, &small, usize::MAX).unwrap(),
            body
        );
    }

    #[test]
    fn t08_a_bomb_stops_at_the_limit() {
        let megabyte = vec![0; 1 << 20];
        let member = gzip(&megabyte);
        // Were the limit looked at after the fact, this would be 2 GiB.
        let bomb = member.repeat(2_048);
        let over = Err(BodyError::TooLarge { limit: 1 << 16 });
        assert_eq!(decompress(Encoding::Gzip, &bomb, 1 << 16), over);
    }

    #[test]
    fn damaged_gzip_is_refused() {
        let good = gzip(b"some body that is long enough to be cut");
        let mut checksum = good.clone();
        let place = checksum.len() - 5;
        checksum[place] ^= 1;
        let mut garbage = good.clone();
        garbage.extend_from_slice(b"more");
        for bad in [
            &b""[..],
            b"plain",
            &good[..good.len() - 1],
            &checksum,
            &garbage,
        ] {
            let result = decompress(Encoding::Gzip, bad, 1 << 20);
            assert_eq!(result, Err(BodyError::Gzip));
        }
    }

    proptest! {
        #[test]
        fn gzip_round_trip(body in vec(any::<u8>(), 0..2_000)) {
            let back = decompress(Encoding::Gzip, &gzip(&body), body.len());
            prop_assert_eq!(back, Ok(Bytes::from(body)));
        }

        #[test]
        fn any_body_is_at_worst_an_error(body in vec(any::<u8>(), 0..300), cut in 0_usize..40) {
            let _ = decompress(Encoding::Gzip, &body, 1_000);
            // With a valid beginning the decoder gets further.
            let mut damaged = gzip(&body);
            damaged.truncate(cut.max(10));
            damaged.extend_from_slice(&body);
            let _ = decompress(Encoding::Gzip, &damaged, 1_000);
        }
    }
}
