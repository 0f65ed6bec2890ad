//! Messages of both peers, as frames.

use opamp_wire::{
    Message as _, encode_frame,
    proto::{
        AgentConfigFile, AgentConfigMap, AgentDescription, AgentToServer, AnyValue, ArrayValue,
        ComponentHealth, ConnectionSettingsOffers, ConnectionSettingsStatus,
        ConnectionSettingsStatuses, EffectiveConfig, Header, Headers, KeyValue,
        OpAmpConnectionSettings, ServerToAgent, TlsCertificate, any_value::Value,
    },
};

use super::{Seed, cut};
use crate::body::UIDS;

pub(super) fn seeds() -> Vec<Seed> {
    let agent = encode_frame(&agent()).to_vec();
    let server = encode_frame(&server()).to_vec();
    vec![
        ("empty", vec![]),
        ("header-alone", vec![0]),
        ("header-written-longer", vec![0x80, 0]),
        ("header-1", vec![1]),
        ("header-endless", vec![0xff; 11]),
        cut("agent-cut", &agent),
        cut("server-cut", &server),
        ("agent", agent),
        ("server", server),
        // `instance_uid` of 4 GiB, of which nothing comes.
        (
            "length-too-long",
            vec![0, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1],
        ),
        ("nested-deep", nested(60)),
        ("nested-too-deep", nested(200)),
        // Field 127, a number, and a group of it with one in it.
        (
            "unknown-fields",
            vec![0, 0xf8, 7, 1, 0xfb, 7, 0x0a, 1, 0, 0xfc, 7],
        ),
        // A key of an attribute that is not UTF-8.
        ("text-not-utf8", vec![0, 0x1a, 5, 0x0a, 3, 0x0a, 1, 0xff]),
        ("number-that-is-none", not_a_number()),
        ("map-key-twice", map_key_twice()),
        (
            "uid-as-text",
            b"01020304-0506-7708-890a-0b0c0d0e0f10".to_vec(),
        ),
        ("uid", UIDS[0].to_vec()),
    ]
}

fn text(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text.into())),
    }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(value),
    }
}

/// Full state.
pub(super) fn agent() -> AgentToServer {
    let file = AgentConfigFile {
        body: b"receivers: {nop: {}}".as_slice().into(),
        content_type: "text/yaml".into(),
    };
    let status = ConnectionSettingsStatuses::Failed;
    AgentToServer {
        instance_uid: UIDS[0].to_vec().into(),
        sequence_num: 7,
        capabilities: 0xa105,
        agent_description: Some(AgentDescription {
            identifying_attributes: vec![attribute("service.name", text("otelcol"))],
            non_identifying_attributes: vec![attribute("os.type", text("linux"))],
        }),
        effective_config: Some(EffectiveConfig {
            config_map: Some(AgentConfigMap {
                config_map: [(String::new(), file)].into(),
            }),
        }),
        health: Some(ComponentHealth {
            last_error: "no".into(),
            ..ComponentHealth::default()
        }),
        connection_settings_status: Some(ConnectionSettingsStatus {
            last_connection_settings_hash: b"hash".as_slice().into(),
            status: status.into(),
            error_message: "x509: certificate signed by unknown authority".into(),
        }),
        ..AgentToServer::default()
    }
}

fn server() -> ServerToAgent {
    ServerToAgent {
        instance_uid: UIDS[0].to_vec().into(),
        capabilities: 0x21,
        flags: 1,
        connection_settings: Some(ConnectionSettingsOffers {
            hash: b"hash".as_slice().into(),
            opamp: Some(OpAmpConnectionSettings {
                destination_endpoint: "wss://opamp.example.com:4320/v1/opamp".into(),
                headers: Some(Headers {
                    headers: vec![Header {
                        key: "Authorization".into(),
                        value: "Bearer token".into(),
                    }],
                }),
                certificate: Some(TlsCertificate {
                    cert: b"certificate".as_slice().into(),
                    private_key: b"key".as_slice().into(),
                    ca_cert: b"ca".as_slice().into(),
                }),
                heartbeat_interval_seconds: 30,
                ..OpAmpConnectionSettings::default()
            }),
            ..ConnectionSettingsOffers::default()
        }),
        ..ServerToAgent::default()
    }
}

/// An attribute that is a list in a list, so many times.
fn nested(depth: usize) -> Vec<u8> {
    let mut value = text("core").encode_to_vec();
    for _ in 0..depth {
        value = wrap(0x2a, &wrap(0x0a, &value));
    }
    let description = wrap(0x0a, &wrap(0x12, &value));
    [vec![0], wrap(0x1a, &description)].concat()
}

fn wrap(tag: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    prost::encode_length_delimiter(data.len(), &mut out).expect("a Vec takes every byte");
    out.extend_from_slice(data);
    out
}

fn not_a_number() -> Vec<u8> {
    let number = |number| AnyValue {
        value: Some(Value::DoubleValue(number)),
    };
    let list = AnyValue {
        value: Some(Value::ArrayValue(ArrayValue {
            values: vec![number(f64::NAN), number(-0.0), number(f64::INFINITY)],
        })),
    };
    let message = AgentToServer {
        agent_description: Some(AgentDescription {
            identifying_attributes: vec![attribute("n", list)],
            ..AgentDescription::default()
        }),
        ..AgentToServer::default()
    };
    encode_frame(&message).to_vec()
}

fn map_key_twice() -> Vec<u8> {
    let entry = |body: &str| {
        let file = wrap(0x0a, body.as_bytes());
        wrap(0x0a, &[wrap(0x0a, b"file"), wrap(0x12, &file)].concat())
    };
    let map = [entry("one"), entry("two")].concat();
    [vec![0], wrap(0x32, &wrap(0x0a, &map))].concat()
}
