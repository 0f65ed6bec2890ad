//! One WebSocket message, of either peer.

use std::fmt::Debug;

use bytes::Bytes;
use opamp_wire::{InstanceUid, Message, decode_frame, encode_frame, proto};

use crate::outline;

/// Longest text of an error: whatever was sent, it is not quoted.
const MAX_ERROR: usize = 120;

/// Decodes `data` as a message of an agent and as one of a server. What is
/// read has the one header there is, is written and read again without a change,
/// and what `Debug` prints does not depend on any text or bytes in it.
pub fn frame(data: &[u8]) {
    read::<proto::AgentToServer>("AgentToServer", data);
    read::<proto::ServerToAgent>("ServerToAgent", data);
    uid(data);
}

fn read<M: Message + Default + Debug>(name: &str, data: &[u8]) {
    let message = match decode_frame::<M>(Bytes::copy_from_slice(data)) {
        Ok(message) => message,
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() <= MAX_ERROR, "an error of {} bytes", text.len());
            return;
        }
    };
    let written = encode_frame(&message);
    let again = decode_frame::<M>(written.clone()).expect("what we write is readable");
    let header = data.iter().find(|byte| **byte != 0x80);
    assert_eq!(header, Some(&0), "{name}: another header is read as 0");
    // Compared as bytes: a number that is none equals nothing, not even itself.
    assert_eq!(encode_frame(&again), written, "{name} changes when written");

    let mut disguised = data.to_vec();
    outline::disguise(name, &mut disguised);
    let disguised = decode_frame::<M>(disguised.into()).expect("the disguise keeps the form");
    for (shown, other) in [
        (format!("{message:?}"), format!("{disguised:?}")),
        (format!("{message:#?}"), format!("{disguised:#?}")),
    ] {
        assert!(shown == other, "{name}: Debug shows what was sent: {shown}");
    }
}

fn uid(data: &[u8]) {
    if let Ok(uid) = InstanceUid::try_from(data) {
        assert_eq!(uid.to_string().parse(), Ok(uid));
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<InstanceUid>() {
        Ok(uid) => assert_eq!(uid.to_string().parse(), Ok(uid)),
        Err(error) => assert!(error.to_string().len() <= MAX_ERROR),
    }
}
