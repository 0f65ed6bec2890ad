//! A profile made of parts: far more of these are accepted than of any text.

use arbitrary::Arbitrary;
use opamp_operator_api::v1alpha1::CipherSuite;
use serde_json::{Value, json};

use crate::world::TOKENS;

/// Names of objects and keys that are there, and of some that are not.
const SECRETS: [&str; 10] = [
    "client",
    "client-next",
    "token",
    "bundle",
    "mismatch",
    "expired",
    "temporary",
    "private",
    "forbidden",
    "absent",
];
const KEYS: [&str; 10] = [
    "token",
    "next",
    "weak",
    "newline",
    "control",
    "tls.key",
    "ca.crt",
    "both.crt",
    "with-key.pem",
    "absent",
];
const NAMES: [&str; 10] = [
    "Authorization",
    "authorization",
    "X-Tenant",
    "x-tenant",
    "Cookie",
    "Host",
    "OpAMP-Settings-Hash",
    "OpAMP-Instance-UID",
    "Sec-WebSocket-Key",
    "User-Agent",
];
const SCHEMES: [&str; 6] = ["wss", "https", "ws", "http", "WSS", "ftp"];
/// Hosts that our certificate is for, in one way of writing or another.
const HOSTS: [&str; 14] = [
    "opamp.example.com",
    "OPAMP.example.com",
    "opamp.example.com.",
    "localhost",
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "2130706433",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "edge.agents.example.com",
    "_edge.agents.example.com",
    "a.b.agents.example.com",
];
const PATHS: [&str; 8] = [
    "/v1/opamp",
    "/v1/opamp/",
    "/v1//opamp",
    "/v1/x/../opamp",
    "/v1/%6fpamp",
    "/v1/opamp?tenant=a%20b",
    "",
    "/",
];

/// One of these, or anything.
#[derive(Arbitrary)]
enum Word {
    Known(u8),
    Any(String),
}

impl Word {
    fn of(self, known: &[&str]) -> String {
        match self {
            Self::Known(number) => known[usize::from(number) % known.len()].to_owned(),
            Self::Any(text) => text,
        }
    }
}

#[derive(Arbitrary)]
enum Endpoint {
    Advertised,
    Url(Word, Word, Option<u16>, Word),
    Any(String),
}

#[derive(Arbitrary)]
enum Header {
    Text(Word, String),
    /// A credential where none belongs.
    Planted(Word),
    Secret(Word, Word, Word, Option<String>),
    Both(Word),
}

#[derive(Arbitrary)]
enum Certificate {
    None,
    Secret(Word),
    Odd(bool, Option<Word>),
}

#[derive(Arbitrary)]
enum Trust {
    Bundle(bool, Word),
    Object(Word, Word),
    System,
    Blind,
    Limited(Option<bool>, Option<bool>, Vec<u8>),
    Both,
    Neither,
}

#[derive(Arbitrary)]
struct Selector {
    attributes: Vec<(String, String)>,
    expressions: Vec<(String, u8, Vec<String>, Option<u8>)>,
    uids: Vec<u128>,
}

/// See the module.
#[derive(Arbitrary)]
pub(crate) struct Shape {
    endpoint: Endpoint,
    strict: Option<bool>,
    heartbeat: Option<i32>,
    headers: Vec<Header>,
    certificate: Certificate,
    trust: Trust,
    proxy: Option<(bool, Word, Vec<Header>)>,
    selector: Selector,
    priority: Option<i32>,
    paused: Option<bool>,
}

impl Shape {
    pub(crate) fn document(self) -> Value {
        let mut opamp = json!({
            "clientCertificate": self.certificate.value(),
            "tls": self.trust.value(),
        });
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                opamp[name] = value;
            }
        };
        put("endpoint", self.endpoint.value());
        let form = |strict| if strict { "Strict" } else { "Universal" };
        put("compatibility", self.strict.map(form).map(Value::from));
        put("heartbeatIntervalSeconds", self.heartbeat.map(Value::from));
        let headers: Vec<_> = self.headers.into_iter().map(Header::value).collect();
        put("headers", (!headers.is_empty()).then(|| headers.into()));
        let proxy = self.proxy.map(|(tls, host, headers)| {
            let scheme = if tls { "https" } else { "http" };
            let headers: Vec<_> = headers.into_iter().map(Header::value).collect();
            json!({"url": format!("{scheme}://{}", host.of(&HOSTS)), "connectHeaders": headers})
        });
        put("proxy", proxy);
        let mut spec = json!({"agentSelector": self.selector.value(), "opamp": opamp});
        if let Some(priority) = self.priority {
            spec["priority"] = priority.into();
        }
        if let Some(paused) = self.paused {
            spec["paused"] = paused.into();
        }
        json!({
            "apiVersion": "opamp-operator.dev/v1alpha1",
            "kind": "OpAMPConnectionProfile",
            "metadata": {"name": "fleet", "namespace": "a"},
            "spec": spec,
        })
    }
}

impl Endpoint {
    fn value(self) -> Option<Value> {
        let text = match self {
            Self::Advertised => return None,
            Self::Any(text) => text,
            Self::Url(scheme, host, port, path) => {
                let (scheme, host) = (scheme.of(&SCHEMES), host.of(&HOSTS));
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("{scheme}://{host}{port}{}", path.of(&PATHS))
            }
        };
        Some(text.into())
    }
}

impl Header {
    fn value(self) -> Value {
        let source = |secret: Word, key: Word| json!({"secretKeyRef": {"name": secret.of(&SECRETS), "key": key.of(&KEYS)}});
        match self {
            Self::Text(name, value) => json!({"name": name.of(&NAMES), "value": value}),
            Self::Planted(name) => json!({"name": name.of(&NAMES), "value": TOKENS[0]}),
            Self::Secret(name, secret, key, prefix) => {
                let mut source = source(secret, key);
                if let Some(prefix) = prefix {
                    source["prefix"] = prefix.into();
                }
                json!({"name": name.of(&NAMES), "valueFrom": source})
            }
            Self::Both(name) => {
                let source = source(Word::Known(2), Word::Known(0));
                json!({"name": name.of(&NAMES), "value": "x", "valueFrom": source})
            }
        }
    }
}

impl Certificate {
    fn value(self) -> Value {
        let secret = |name: Word| json!({"name": name.of(&SECRETS)});
        match self {
            Self::None => json!({"source": "None"}),
            Self::Secret(name) => json!({"source": "Secret", "secretRef": secret(name)}),
            Self::Odd(source, name) => {
                let source = if source { "Secret" } else { "None" };
                json!({"source": source, "secretRef": name.map(secret)})
            }
        }
    }
}

impl Trust {
    fn value(self) -> Value {
        let bundle = |kind: bool, key: Word| {
            let kind = if kind { "Secret" } else { "ConfigMap" };
            json!({"kind": kind, "name": "bundle", "key": key.of(&KEYS)})
        };
        match self {
            Self::Bundle(kind, key) => json!({"caBundleRef": bundle(kind, key)}),
            Self::Object(name, key) => {
                let (name, key) = (name.of(&SECRETS), key.of(&KEYS));
                json!({"caBundleRef": {"kind": "Secret", "name": name, "key": key}})
            }
            Self::System => json!({"systemCAs": "Include"}),
            Self::Blind => json!({"insecureSkipVerify": true}),
            Self::Limited(min, max, suites) => {
                let version = |late: bool| if late { "1.3" } else { "1.2" };
                let mut trust = json!({"caBundleRef": bundle(false, Word::Known(6))});
                for (name, late) in [("minVersion", min), ("maxVersion", max)] {
                    if let Some(late) = late {
                        trust[name] = version(late).into();
                    }
                }
                let all = CipherSuite::ALL;
                let suite = |number: u8| all[usize::from(number) % all.len()].as_str();
                if !suites.is_empty() {
                    trust["cipherSuites"] = suites.into_iter().map(suite).collect();
                }
                trust
            }
            Self::Both => {
                json!({"caBundleRef": bundle(false, Word::Known(6)), "systemCAs": "Include"})
            }
            Self::Neither => json!({}),
        }
    }
}

impl Selector {
    fn value(self) -> Value {
        const OPERATORS: [&str; 5] = ["In", "NotIn", "Exists", "DoesNotExist", "Near"];
        const SCOPES: [&str; 4] = ["Any", "Identifying", "NonIdentifying", "None"];
        let one = |of: &[&str], number: u8| of[usize::from(number) % of.len()].to_owned();
        let mut selector = json!({});
        for (key, value) in self.attributes {
            selector["matchAttributes"][key] = value.into();
        }
        let expression = |(key, operator, values, scope): (String, u8, Vec<String>, Option<u8>)| {
            let mut expression = json!({"key": key, "operator": one(&OPERATORS, operator)});
            if !values.is_empty() {
                expression["values"] = values.into();
            }
            if let Some(scope) = scope {
                expression["scope"] = one(&SCOPES, scope).into();
            }
            expression
        };
        let expressions: Vec<_> = self.expressions.into_iter().map(expression).collect();
        if !expressions.is_empty() {
            selector["matchExpressions"] = expressions.into();
        }
        let uid = |uid: u128| opamp_wire::InstanceUid::from_bytes(uid.to_be_bytes()).to_string();
        let uids: Vec<_> = self.uids.into_iter().map(uid).collect();
        if !uids.is_empty() {
            selector["instanceUIDs"] = uids.into();
        }
        selector
    }
}
