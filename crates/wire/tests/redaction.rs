//! Law 7, 'nothing leaks', for the wire: a secret is planted into every text
//! and bytes field of every message, found in the encoding, and must not be
//! found in what `Debug` and the errors print.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use bytes::Bytes;
use opamp_wire::{
    Encoding, FILE_DESCRIPTOR_SET, InstanceUid, OfferBytes, Reply, decode_frame, decompress, proto,
};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions};

const SECRET: &str = "s3cr3t-Bearer-kx81-/PEM+";

/// How deep messages are filled: more than any secret lies below an envelope.
const DEPTH: usize = 7;

/// Cases of `AnyValue`.
const VARIANTS: usize = 7;

/// All messages by full name, map entries too.
struct Filler(BTreeMap<String, DescriptorProto>);

impl Filler {
    fn new() -> Self {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut all = BTreeMap::new();
        for message in set.file.iter().flat_map(|file| &file.message_type) {
            let path = format!(".opamp.proto.{}", message.name());
            for entry in &message.nested_type {
                all.insert(format!("{path}.{}", entry.name()), entry.clone());
            }
            all.insert(path, message.clone());
        }
        Self(all)
    }

    /// The names of the messages that have a Rust type.
    fn names(&self) -> Vec<String> {
        let types = self.0.values().filter(|message| {
            let options = message.options.as_ref();
            !options.is_some_and(MessageOptions::map_entry)
        });
        types.map(|message| message.name().to_lowercase()).collect()
    }

    /// An encoding of `path` with everything set; of the cases of a value
    /// only the one that `variant` names, since the last one would win.
    fn fill(&self, path: &str, depth: usize, variant: usize) -> Vec<u8> {
        let message = &self.0[path];
        let mut out = Vec::new();
        for (at, field) in message.field.iter().enumerate() {
            if message.name() != "AnyValue" || at == variant % VARIANTS {
                self.put(field, depth, variant, &mut out);
            }
        }
        out
    }

    fn put(&self, field: &FieldDescriptorProto, depth: usize, variant: usize, out: &mut Vec<u8>) {
        let tag = usize::try_from(field.number()).unwrap() << 3;
        let mut number = |value| prost::encode_length_delimiter(value, out).unwrap();
        let data = match field.r#type() {
            Type::String | Type::Bytes => SECRET.into(),
            Type::Message if depth == 0 => return,
            Type::Message => self.fill(field.type_name(), depth - 1, variant + depth),
            Type::Double | Type::Fixed64 => {
                number(tag | 1);
                return out.extend(1_u64.to_le_bytes());
            }
            _ => {
                number(tag);
                return number(1);
            }
        };
        let times = if field.label() == Label::Repeated {
            2
        } else {
            1
        };
        for _ in 0..times {
            prost::encode_length_delimiter(tag | 2, out).unwrap();
            prost::encode_length_delimiter(data.len(), out).unwrap();
            out.extend_from_slice(&data);
        }
    }
}

/// The forms in which bytes get printed.
fn forms() -> Vec<String> {
    let piece = &SECRET.as_bytes()[..6];
    let mut hex = String::new();
    for byte in piece {
        write!(hex, "{byte:02x}").unwrap();
    }
    let list = format!("{piece:?}");
    let lines = format!("{piece:#?}");
    let inner = |text: &str| text.trim_matches(['[', ']', '\n']).to_owned();
    vec![
        SECRET[..6].to_owned(),
        "kx81".to_owned(),
        hex.to_uppercase(),
        hex,
        inner(&list),
        // `{:#?}` of bytes has one number a line, at any depth.
        "115,\n".to_owned(),
        inner(&lines),
        "czNjcj".to_owned(),
    ]
}

fn assert_silent(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{what} shows {form:?}:\n{text}");
    }
}

fn assert_redacted(what: &str, value: &impl Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(text.starts_with(what), "no outline of {what}: {text}");
        assert_silent(what, &text);
    }
}

macro_rules! check_all {
    ($filler:ident: $($message:ident)*) => {{
        let mut names = vec![$(stringify!($message).to_lowercase()),*];
        let mut wanted = $filler.names();
        names.sort();
        wanted.sort();
        assert_eq!(names, wanted, "a message is missing in this test");
        $(
            let path = $filler.0.keys().find(|path| {
                path.to_lowercase() == format!(".opamp.proto.{}", stringify!($message).to_lowercase())
            });
            for variant in 0..VARIANTS {
                let data = $filler.fill(path.unwrap(), DEPTH, variant);
                let message = proto::$message::decode(&data[..]).unwrap();
                assert_eq!(message.encoded_len() > 0, !data.is_empty());
                assert_redacted(stringify!($message), &message);
            }
        )*
    }};
}

#[test]
fn no_message_shows_what_it_contains() {
    let filler = Filler::new();
    check_all!(filler:
        AgentConfigFile AgentConfigMap AgentDescription AgentDisconnect AgentIdentification
        AgentRemoteConfig AgentToServer AnyValue ArrayValue AvailableComponents
        CertificateRequest ComponentDetails ComponentHealth ConnectionSettingsOffers
        ConnectionSettingsRequest ConnectionSettingsStatus CustomCapabilities CustomMessage
        DownloadableFile EffectiveConfig Header Headers KeyValue KeyValueList
        OpAmpConnectionSettings OpAmpConnectionSettingsRequest OtherConnectionSettings
        PackageAvailable PackageDownloadDetails PackageStatus PackageStatuses PackagesAvailable
        ProxyConnectionSettings RemoteConfigStatus RetryInfo ServerErrorResponse ServerToAgent
        ServerToAgentCommand TelemetryConnectionSettings TlsCertificate TlsConnectionSettings
    );
}

/// The test's own senses: what it plants is there, and a leak would be seen.
#[test]
fn the_secret_is_planted_and_would_be_found() {
    let filler = Filler::new();
    let data = filler.fill(".opamp.proto.ServerToAgent", DEPTH, 0);
    let message = proto::ServerToAgent::decode(&data[..]).unwrap();
    let opamp = message.connection_settings.unwrap().opamp.unwrap();
    assert_eq!(opamp.headers.unwrap().headers[1].value, SECRET);
    assert_eq!(opamp.certificate.unwrap().private_key, SECRET);
    let proxy = opamp.proxy.unwrap();
    assert_eq!(proxy.connect_headers.unwrap().headers[0].key, SECRET);
    let files = message.remote_config.unwrap().config.unwrap().config_map;
    assert_eq!(files[SECRET].body, SECRET);

    let bytes = Bytes::from_static(SECRET.as_bytes());
    let leaks = [
        format!("{SECRET:?}"),
        format!("{bytes:?}"),
        format!("{:?}", SECRET.as_bytes()),
        format!("{:#?}", Some(SECRET.as_bytes())),
        format!("{bytes:x}"),
        format!("{bytes:X}"),
    ];
    for leak in leaks {
        let found = forms().iter().any(|form| leak.contains(form));
        assert!(found, "{leak}");
    }
}

#[test]
fn offers_and_errors_are_silent() {
    let filler = Filler::new();
    let data = filler.fill(".opamp.proto.ConnectionSettingsOffers", DEPTH, 0);
    let offers = proto::ConnectionSettingsOffers::decode(&data[..]).unwrap();
    let reply = Reply {
        offer: Some(OfferBytes::encode(&offers)),
        ..Reply::new(InstanceUid::from_bytes([1; 16]))
    };
    assert_redacted("Reply", &reply);
    // The last byte is missing.
    let frame = reply.to_frame();
    let cut = frame.slice(..frame.len() - 1);
    let error = decode_frame::<proto::ServerToAgent>(cut).unwrap_err();
    assert_silent("FrameError", &format!("{error} {error:?}"));
    let plain = Bytes::from_static(SECRET.as_bytes());
    let error = decode_frame::<proto::ServerToAgent>(plain).unwrap_err();
    assert_silent("FrameError", &format!("{error} {error:?}"));
    let error = decompress(Encoding::Gzip, SECRET.as_bytes(), 1_000).unwrap_err();
    assert_silent("BodyError", &format!("{error} {error:?}"));
    let error = Encoding::parse(SECRET).unwrap_err();
    assert_silent("BodyError", &format!("{error} {error:?}"));
    let error = SECRET.parse::<InstanceUid>().unwrap_err();
    assert_silent("UidError", &format!("{error} {error:?}"));
    let error = InstanceUid::try_from(SECRET.as_bytes()).unwrap_err();
    assert_silent("UidError", &format!("{error} {error:?}"));
}
