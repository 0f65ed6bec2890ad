//! What a server says to one agent, written without building the message: an
//! offer is encoded once and shared by all who get it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::frame::HEADER;
use crate::proto::{
    AgentIdentification, ConnectionSettingsOffers, RetryInfo, ServerErrorResponse,
    ServerErrorResponseType, ServerToAgent, server_error_response::Details,
};
use crate::uid::InstanceUid;

/// An encoded offer, as the field `connection_settings` of a `ServerToAgent`.
/// Holds private keys and tokens; a clone shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct OfferBytes(Bytes);

impl OfferBytes {
    /// Encodes an offer, with the tag and length of its field.
    #[must_use]
    pub fn encode(offers: &ConnectionSettingsOffers) -> Self {
        let message = ServerToAgent {
            connection_settings: Some(offers.clone()),
            ..ServerToAgent::default()
        };
        Self(message.encode_to_vec().into())
    }

    /// How many bytes it adds to a message.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "an encoded offer has at least its tag and length"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for OfferBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfferBytes({} bytes)", self.len())
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nobody can tell.
    Unknown,
    /// The agent's: the same message will fail again.
    BadRequest,
    /// Ours: the agent is to come back later.
    Unavailable,
}

impl From<ErrorKind> for ServerErrorResponseType {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unknown => Self::Unknown,
            ErrorKind::BadRequest => Self::BadRequest,
            ErrorKind::Unavailable => Self::Unavailable,
        }
    }
}

/// Why a message was not processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// For people. Agents log it: it must not quote what they sent.
    pub message: String,
    /// How long the agent should wait; sent with
    /// [`ErrorKind::Unavailable`] only.
    pub retry_after: Option<Duration>,
}

impl ReplyError {
    fn to_response(&self) -> ServerErrorResponse {
        let retry_after = self
            .retry_after
            .filter(|_| self.kind == ErrorKind::Unavailable);
        ServerErrorResponse {
            r#type: ServerErrorResponseType::from(self.kind).into(),
            error_message: self.message.clone(),
            details: retry_after.map(|wait| {
                Details::RetryInfo(RetryInfo {
                    retry_after_nanoseconds: u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX),
                })
            }),
        }
    }
}

/// A server's answer or push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The agent's own, as received; none for a message that could not be read.
    pub instance_uid: Option<InstanceUid>,
    /// Bits of `ServerToAgentFlags`.
    pub flags: u64,
    /// Bits of `ServerCapabilities`, in the first message of a connection.
    pub capabilities: Option<u64>,
    /// A new name for the agent.
    pub new_instance_uid: Option<InstanceUid>,
    /// An error. With it, all the rest but `instance_uid` stays unsent.
    pub error: Option<ReplyError>,
    /// Connection settings.
    pub offer: Option<OfferBytes>,
}

impl Reply {
    /// Nothing to say but whom it is for.
    #[must_use]
    pub fn new(instance_uid: impl Into<Option<InstanceUid>>) -> Self {
        Self {
            instance_uid: instance_uid.into(),
            flags: 0,
            capabilities: None,
            new_instance_uid: None,
            error: None,
            offer: None,
        }
    }

    /// As a WebSocket message, with its header.
    #[must_use]
    pub fn to_frame(&self) -> Bytes {
        self.after(&[HEADER])
    }

    /// As the body of an HTTP response, not compressed.
    #[must_use]
    pub fn to_body(&self) -> Bytes {
        self.after(&[])
    }

    /// Protobuf fields may be concatenated. Their order is ascending, as every
    /// library writes them: equal replies are equal bytes, whoever wrote them.
    fn after(&self, start: &[u8]) -> Bytes {
        let head = self.head().encode_to_vec();
        if self.error.is_some() {
            return [start, &head].concat().into();
        }
        let offer = self.offer.as_ref().map_or(&[][..], |offer| &offer.0);
        let tail = self.tail().encode_to_vec();
        [start, &head, offer, &tail].concat().into()
    }

    /// The fields before the offer.
    fn head(&self) -> ServerToAgent {
        ServerToAgent {
            instance_uid: self
                .instance_uid
                .map(InstanceUid::to_bytes)
                .unwrap_or_default(),
            error_response: self.error.as_ref().map(ReplyError::to_response),
            ..ServerToAgent::default()
        }
    }

    /// The fields after the offer.
    fn tail(&self) -> ServerToAgent {
        let new = self.new_instance_uid.map(InstanceUid::to_bytes);
        ServerToAgent {
            flags: self.flags,
            capabilities: self.capabilities.unwrap_or_default(),
            agent_identification: new
                .map(|new_instance_uid| AgentIdentification { new_instance_uid }),
            ..ServerToAgent::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::decode_frame;
    use crate::proto::{Header, Headers, OpAmpConnectionSettings, TlsCertificate};

    const UID: InstanceUid = InstanceUid::from_bytes([9; 16]);

    fn offers(token: &str) -> ConnectionSettingsOffers {
        ConnectionSettingsOffers {
            hash: Bytes::from_static(b"hash"),
            opamp: Some(OpAmpConnectionSettings {
                destination_endpoint: "wss://opamp.example:4320/v1/opamp".into(),
                headers: Some(Headers {
                    headers: vec![Header {
                        key: "Authorization".into(),
                        value: token.into(),
                    }],
                }),
                certificate: Some(TlsCertificate {
                    private_key: Bytes::from(vec![b'k'; 2_000]),
                    ..TlsCertificate::default()
                }),
                heartbeat_interval_seconds: 30,
                ..OpAmpConnectionSettings::default()
            }),
            ..ConnectionSettingsOffers::default()
        }
    }

    fn failed(kind: ErrorKind, retry_after: Option<Duration>) -> Reply {
        Reply {
            error: Some(ReplyError {
                kind,
                message: "no".into(),
                retry_after,
            }),
            ..Reply::new(UID)
        }
    }

    fn sent(reply: &Reply) -> ServerToAgent {
        let message: ServerToAgent = decode_frame(reply.to_frame()).unwrap();
        assert_eq!(ServerToAgent::decode(reply.to_body()), Ok(message.clone()));
        message
    }

    #[test]
    fn m02_nothing_to_say_is_the_uid_alone() {
        let message = sent(&Reply::new(UID));
        let only = ServerToAgent {
            instance_uid: UID.to_bytes(),
            ..ServerToAgent::default()
        };
        assert_eq!(message, only);
        // To whom is not known: not even that.
        assert_eq!(Reply::new(None).to_frame().as_ref(), [HEADER]);
        assert!(Reply::new(None).to_body().is_empty());
        // All zeros are a name like any other (M03).
        assert_eq!(
            sent(&Reply::new(InstanceUid::NIL)).instance_uid,
            [0; 16][..]
        );
    }

    #[test]
    fn m06_an_error_travels_alone() {
        let reply = Reply {
            flags: 1,
            capabilities: Some(0x21),
            new_instance_uid: Some(UID),
            offer: Some(OfferBytes::encode(&offers("t"))),
            ..failed(ErrorKind::BadRequest, None)
        };
        let only = ServerToAgent {
            instance_uid: UID.to_bytes(),
            error_response: Some(ServerErrorResponse {
                r#type: ServerErrorResponseType::BadRequest.into(),
                error_message: "no".into(),
                details: None,
            }),
            ..ServerToAgent::default()
        };
        assert_eq!(sent(&reply), only);
    }

    #[test]
    fn m12_only_unavailable_says_when_to_return() {
        let details = |kind, wait| sent(&failed(kind, wait)).error_response.unwrap().details;
        let wait = Some(Duration::from_secs(30));
        assert_eq!(details(ErrorKind::BadRequest, wait), None);
        assert_eq!(details(ErrorKind::Unknown, wait), None);
        assert_eq!(details(ErrorKind::Unavailable, None), None);
        let retry = |retry_after_nanoseconds| {
            Some(Details::RetryInfo(RetryInfo {
                retry_after_nanoseconds,
            }))
        };
        let half_minute = details(ErrorKind::Unavailable, wait);
        assert_eq!(half_minute, retry(30_000_000_000));
        let forever = details(ErrorKind::Unavailable, Some(Duration::MAX));
        assert_eq!(forever, retry(u64::MAX));
    }

    #[test]
    fn an_offer_is_shared_and_not_shown() {
        let offer = OfferBytes::encode(&offers("Bearer 4a1f-secret"));
        assert_eq!(offer, offer.clone());
        assert_eq!(offer.0.as_ptr(), offer.clone().0.as_ptr());
        let reply = Reply {
            offer: Some(offer.clone()),
            ..Reply::new(UID)
        };
        for text in [format!("{reply:?}"), format!("{reply:#?}")] {
            let length = format!("OfferBytes({} bytes)", offer.len());
            assert!(text.contains(&length), "{text}");
            assert!(!text.contains("secret") && !text.contains("kkkk"), "{text}");
            assert!(!text.contains("107"), "{text}");
        }
        // An offer of nothing is still an offer.
        assert_eq!(
            OfferBytes::encode(&ConnectionSettingsOffers::default()).len(),
            2
        );
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_the_whole_message(
            uid: [u8; 16],
            flags: u64,
            capabilities: Option<u64>,
            new: Option<[u8; 16]>,
            token in proptest::option::of(".{0,300}"),
        ) {
            let offers = token.as_deref().map(offers);
            let reply = Reply {
                instance_uid: Some(uid.into()),
                flags,
                capabilities,
                new_instance_uid: new.map(InstanceUid::from),
                error: None,
                offer: offers.as_ref().map(OfferBytes::encode),
            };
            let message = ServerToAgent {
                instance_uid: Bytes::copy_from_slice(&uid),
                flags,
                capabilities: capabilities.unwrap_or_default(),
                agent_identification: new.map(|new| AgentIdentification {
                    new_instance_uid: Bytes::copy_from_slice(&new),
                }),
                connection_settings: offers,
                ..ServerToAgent::default()
            };
            prop_assert_eq!(reply.to_body(), message.encode_to_vec());
            prop_assert_eq!(reply.to_frame(), crate::frame::encode_frame(&message));
        }
    }
}
