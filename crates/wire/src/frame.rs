//! One WebSocket message: a varint header, which is 0, and the protobuf bytes.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{Message, decode_length_delimiter};
use thiserror::Error;

/// The only header there is. Its varint is this one byte.
pub(crate) const HEADER: u8 = 0;

/// Why a WebSocket message is not an `OpAMP` message. Says nothing of what it
/// contained.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No complete varint at the start.
    #[error("the message has no header; start every WebSocket message with the varint 0")]
    NoHeader,
    /// A header of another version of the format, or of a peer that sends none.
    #[error("the message header is {0}; only header 0 is defined")]
    Header(u64),
    /// What follows the header is not the message it should be.
    #[error("the message is not valid protobuf; send an OpAMP message after the header")]
    Malformed,
}

/// Reads one WebSocket message. No data after the header is a valid, empty
/// message.
///
/// The result shares the memory of `data`.
///
/// # Errors
///
/// [`FrameError`], when `data` is not a header 0 and an `M`.
pub fn decode_frame<M: Message + Default>(mut data: Bytes) -> Result<M, FrameError> {
    // A length delimiter is a varint, and this is prost's public way to read one.
    match decode_length_delimiter(&mut data) {
        Ok(0) => M::decode(data).map_err(|_| FrameError::Malformed),
        Ok(header) => Err(FrameError::Header(header as u64)),
        Err(_) => Err(FrameError::NoHeader),
    }
}

/// Writes one WebSocket message.
#[must_use]
pub fn encode_frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + message.encoded_len());
    frame.put_u8(HEADER);
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::proto::{
        AgentConfigFile, AgentConfigMap, AgentDescription, AgentDisconnect, AgentToServer,
        AnyValue, ConnectionSettingsOffers, ConnectionSettingsStatus, EffectiveConfig, Header,
        Headers, KeyValue, OpAmpConnectionSettings, ServerToAgent, any_value,
    };

    fn decode(data: &[u8]) -> Result<AgentToServer, FrameError> {
        decode_frame(Bytes::copy_from_slice(data))
    }

    #[test]
    fn t04_header_alone_is_the_empty_message() {
        assert_eq!(decode(&[0]), Ok(AgentToServer::default()));
        assert_eq!(encode_frame(&AgentToServer::default()).as_ref(), [0]);
        // The same number, written longer than needed.
        assert_eq!(decode(&[0x80, 0]), Ok(AgentToServer::default()));
    }

    #[test]
    fn t04_other_headers_are_malformed() {
        assert_eq!(decode(&[1]), Err(FrameError::Header(1)));
        assert_eq!(decode(&[0xac, 2, 0]), Err(FrameError::Header(300)));
        // A peer that sends no header: instance_uid's tag is read as one.
        assert_eq!(decode(&[0x0a, 1, 7]), Err(FrameError::Header(10)));
        assert_eq!(decode(&[]), Err(FrameError::NoHeader));
        assert_eq!(decode(&[0x80]), Err(FrameError::NoHeader));
        assert_eq!(decode(&[0xff; 11]), Err(FrameError::NoHeader));
    }

    #[test]
    fn m10_truncated_and_mistyped_bytes_are_malformed() {
        assert_eq!(decode(&[0, 0x0a, 16, 1]), Err(FrameError::Malformed));
        assert_eq!(decode(&[0, 0x08, 1]), Err(FrameError::Malformed));
        // AgentDescription with a key that is not UTF-8.
        let text = [0, 0x1a, 5, 0x0a, 3, 0x0a, 1, 0xff];
        assert_eq!(decode(&text), Err(FrameError::Malformed));
    }

    #[test]
    fn m10_endless_nesting_is_malformed() {
        let mut value = Vec::new();
        for _ in 0..5_000 {
            // AnyValue.array_value around ArrayValue.values, inside out.
            value = wrap(0x0a, &value);
            value = wrap(0x2a, &value);
        }
        let attribute = wrap(0x0a, &wrap(0x12, &value));
        let mut frame = vec![0];
        frame.extend(wrap(0x1a, &attribute));
        assert_eq!(decode(&frame), Err(FrameError::Malformed));
    }

    fn wrap(tag: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        prost::encode_length_delimiter(data.len(), &mut out).unwrap();
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn m14_unknown_fields_are_ignored() {
        let message = decode(&[0, 0x10, 9, 0xf8, 0x07, 1, 0xfa, 0x07, 1, 0]).unwrap();
        assert_eq!(message.sequence_num, 9);
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn attribute() -> impl Strategy<Value = KeyValue> {
        let value = prop_oneof![
            ".{0,8}".prop_map(any_value::Value::StringValue),
            any::<i64>().prop_map(any_value::Value::IntValue),
            any::<bool>().prop_map(any_value::Value::BoolValue),
            bytes().prop_map(any_value::Value::BytesValue),
        ];
        (".{0,8}", proptest::option::of(value)).prop_map(|(key, value)| KeyValue {
            key,
            value: Some(AnyValue { value }),
        })
    }

    fn config() -> impl Strategy<Value = EffectiveConfig> {
        let file = (bytes(), ".{0,8}")
            .prop_map(|(body, content_type)| AgentConfigFile { body, content_type });
        btree_map(".{0,8}", file, 0..4).prop_map(|config_map| EffectiveConfig {
            config_map: Some(AgentConfigMap { config_map }),
        })
    }

    prop_compose! {
        fn from_agent()(
            instance_uid in bytes(),
            sequence_num: u64,
            capabilities: u64,
            attributes in vec(attribute(), 0..5),
            effective_config in proptest::option::of(config()),
            status in proptest::option::of((bytes(), any::<i32>(), ".{0,9}")),
            leaves: bool,
        ) -> AgentToServer {
            AgentToServer {
                instance_uid,
                sequence_num,
                capabilities,
                agent_description: Some(AgentDescription {
                    identifying_attributes: attributes,
                    non_identifying_attributes: Vec::new(),
                }),
                effective_config,
                connection_settings_status: status.map(|(hash, status, error_message)| {
                    ConnectionSettingsStatus {
                        last_connection_settings_hash: hash,
                        status,
                        error_message,
                    }
                }),
                agent_disconnect: leaves.then_some(AgentDisconnect {}),
                ..AgentToServer::default()
            }
        }
    }

    prop_compose! {
        fn from_server()(
            instance_uid in bytes(),
            flags: u64,
            hash in bytes(),
            headers in vec((".{0,9}", ".{0,9}"), 0..4),
            heartbeat_interval_seconds: u64,
        ) -> ServerToAgent {
            let headers = headers.into_iter().map(|(key, value)| Header { key, value });
            let opamp = OpAmpConnectionSettings {
                headers: Some(Headers { headers: headers.collect() }),
                heartbeat_interval_seconds,
                ..OpAmpConnectionSettings::default()
            };
            ServerToAgent {
                instance_uid,
                flags,
                connection_settings: Some(ConnectionSettingsOffers {
                    hash,
                    opamp: Some(opamp),
                    ..ConnectionSettingsOffers::default()
                }),
                ..ServerToAgent::default()
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(up in from_agent(), down in from_server()) {
            prop_assert_eq!(decode_frame(encode_frame(&up)), Ok(up));
            prop_assert_eq!(decode_frame(encode_frame(&down)), Ok(down));
        }

        #[test]
        fn any_bytes_are_at_worst_an_error(data in vec(any::<u8>(), 0..300)) {
            let _ = decode(&data);
            let mut frame = vec![HEADER];
            frame.extend(data);
            let _ = decode(&frame);
            let _ = decode_frame::<ServerToAgent>(frame.into());
        }

        #[test]
        fn a_damaged_message_is_at_worst_an_error(
            message in from_agent(),
            at: prop::sample::Index,
            damage: u8,
            keep: prop::sample::Index,
        ) {
            let mut frame = encode_frame(&message).to_vec();
            let place = at.index(frame.len());
            frame[place] ^= damage;
            frame.truncate(keep.index(frame.len() + 1));
            let _ = decode(&frame);
        }
    }
}
