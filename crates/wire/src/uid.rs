//! The instance UID: what an agent calls itself.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use thiserror::Error;

/// Positions of the hyphens in the canonical form.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const TEXT_LENGTH: usize = 36;

/// Sixteen bytes, shown as a UUID. Any version: the specification only
/// recommends 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceUid([u8; 16]);

/// Why something is not an [`InstanceUid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UidError {
    /// A binary UID of the wrong length.
    #[error("instance_uid has {0} bytes; send the 16 bytes of a UUID")]
    Length(usize),
    /// Text that is no UUID.
    #[error(
        "not a UUID; use the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx with hexadecimal digits"
    )]
    Text,
}

impl InstanceUid {
    /// All zeros. An agent may call itself so, mostly until it has a name.
    pub const NIL: Self = Self([0; 16]);

    /// Takes the bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as they travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A copy for a message's `instance_uid`.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// Whether this is [`InstanceUid::NIL`].
    #[must_use]
    pub fn is_nil(self) -> bool {
        self == Self::NIL
    }
}

impl From<[u8; 16]> for InstanceUid {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for InstanceUid {
    type Error = UidError;

    fn try_from(bytes: &[u8]) -> Result<Self, UidError> {
        let array = bytes.try_into();
        array.map(Self).map_err(|_| UidError::Length(bytes.len()))
    }
}

impl FromStr for InstanceUid {
    type Err = UidError;

    /// Reads the canonical form; capitals are let pass, since Go, Java and
    /// .NET libraries differ in them.
    fn from_str(text: &str) -> Result<Self, UidError> {
        let text = text.as_bytes();
        if text.len() != TEXT_LENGTH || HYPHENS.iter().any(|&at| text[at] != b'-') {
            return Err(UidError::Text);
        }
        let mut digits = (0..TEXT_LENGTH)
            .filter(|at| !HYPHENS.contains(at))
            .map(|at| nibble(text[at]));
        let mut next = || digits.next().flatten().ok_or(UidError::Text);
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            *byte = next()? << 4 | next()?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for InstanceUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = ['-'; TEXT_LENGTH];
        let places = (0..TEXT_LENGTH).filter(|at| !HYPHENS.contains(at));
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        for (at, nibble) in places.zip(nibbles) {
            text[at] = char::from(DIGITS[usize::from(nibble)]);
        }
        // Through `pad`, so that a width in a format string works.
        f.pad(&text.iter().collect::<String>())
    }
}

impl fmt::Debug for InstanceUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn canonical_form_both_ways() {
        let uid: InstanceUid = TEXT.parse().unwrap();
        assert_eq!(uid.as_bytes()[..3], [0x01, 0x23, 0x45]);
        assert_eq!(uid.to_string(), TEXT);
        assert_eq!(format!("{uid:?}"), TEXT);
        assert_eq!(format!("{uid:>38}"), format!("  {TEXT}"));
        assert_eq!(TEXT.to_uppercase().parse(), Ok(uid));
        assert_eq!(
            InstanceUid::NIL.to_string(),
            "00000000-0000-0000-0000-000000000000"
        );
    }

    #[test]
    fn other_text_is_refused() {
        let long = format!("{TEXT}0");
        for text in [
            "",
            "0123456789abcdef0123456789abcdef",
            &TEXT[1..],
            &long,
            "01234567-89ab-cdef-0123-456789abcdeg",
            "01234567-89ab-cdef-0123-456789ab-def",
            "012345678-9ab-cdef-0123-456789abcdef",
            "{1234567-89ab-cdef-0123-456789abcde}",
            "ääääääää-ää",
        ] {
            assert_eq!(text.parse::<InstanceUid>(), Err(UidError::Text), "{text}");
        }
    }

    #[test]
    fn only_sixteen_bytes() {
        for length in [0, 1, 15, 17, 26, 36] {
            let bytes = vec![7; length];
            let result = InstanceUid::try_from(&bytes[..]);
            assert_eq!(result, Err(UidError::Length(length)));
        }
        let uid = InstanceUid::try_from(&[7; 16][..]).unwrap();
        assert_eq!(uid, InstanceUid::from([7; 16]));
        assert_eq!(uid.to_bytes().as_ref(), uid.as_bytes());
        assert!(!uid.is_nil() && InstanceUid::NIL.is_nil());
    }

    proptest! {
        #[test]
        fn text_round_trip(bytes: [u8; 16]) {
            let uid = InstanceUid::from_bytes(bytes);
            prop_assert_eq!(uid.to_string().parse(), Ok(uid));
        }

        #[test]
        fn any_text_is_at_worst_an_error(text in ".{0,40}") {
            let _ = text.parse::<InstanceUid>();
        }
    }
}
