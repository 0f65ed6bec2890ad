//! The HTML pages of the admin listener, asked over loopback.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

#[cfg(test)]
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "server/offers.rs"]
mod offers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use opamp_operator::{
    admin::Admin,
    hub::{Hub, Known, Reviews, Roster},
    metrics::Registry,
};
use opamp_operator_api::{
    Attributes, Identity, IdentityMethod, ProfileKey,
    agent::{Evidence, SettingsState, Transport},
    v1alpha1::OpAMPConnectionProfileStatus,
};
use opamp_operator_core::{
    fleet::{About, AgentRecord, DEFAULT_INTERVAL, Proved},
    identity::Recognition,
};
use opamp_wire::InstanceUid;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// What an agent, or whoever writes a profile, may try.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>\u{202e}\u{0}&lt;";
/// What no page may hold: an attribute that only its agent and selectors know.
const CANARY: &str = "canary-5f1c2b7e9d";

fn uid(number: u8) -> InstanceUid {
    InstanceUid::from_bytes([number; 16])
}

fn record(number: u8) -> AgentRecord {
    let now = Timestamp::now();
    AgentRecord {
        uid: uid(number),
        namespace: "default".into(),
        binding: Some(Identity {
            namespace: "default".into(),
            method: IdentityMethod::AgentToken,
            authenticator: "bootstrap".into(),
            subject: "default/agents#token".into(),
        }),
        bound_at: Some(now),
        pod: None,
        attributes: Some(Attributes {
            identifying: BTreeMap::from([("api.key".into(), CANARY.into())]),
            ..Attributes::default()
        }),
        profile: Some(offers::profile()),
        overridden: Vec::new(),
        told: None,
        connected: Some(Transport::WebSocket),
        interval: DEFAULT_INTERVAL,
        capable: true,
        receives: true,
        cannot_return: false,
        exhausted: false,
        state: SettingsState::Applied,
        proved: Some(Proved {
            profile: offers::profile(),
            number: 7,
            evidence: Evidence::SettingsHeader,
            at: now,
        }),
        last_offer: Some((
            Recognition {
                profile: offers::profile(),
                number: 7,
            },
            now,
        )),
        offered: Vec::new(),
        since: now,
        last_contact: now,
        about: About {
            host: Some(format!("node-{number}")),
            service: Some("otelcol".into()),
            linked: Some(now),
            ..About::default()
        },
    }
}

fn status(value: Value) -> OpAMPConnectionProfileStatus {
    serde_json::from_value(value).unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    })
}

/// One profile that is in force, one that is held back, and 60 agents of the
/// first: the second of them reports what it likes.
fn hub() -> Arc<Hub> {
    let (questions, _) = mpsc::channel(1);
    let reviews = Reviews::new(questions, Duration::from_secs(3600));
    let hub = Hub::new(Roster::new(99, 99), Duration::ZERO, reviews);
    let now = hub.clock.now();
    for number in 1..=60 {
        hub.roster.restore(record(number), now);
    }
    let mut hostile = record(61);
    hostile.state = SettingsState::Failed;
    hostile.about.host = Some(format!("evil{HOSTILE}"));
    hostile.about.service = Some(HOSTILE.into());
    hostile.about.failure = Some((HOSTILE.into(), now.wall));
    hostile.about.cannot_use = Some((HOSTILE.into(), now.wall));
    if let Some(binding) = &mut hostile.binding {
        binding.subject = HOSTILE.into();
    }
    hub.roster.restore(hostile, now);
    let target = offers::Offers::new(now).target(7, |_| {});
    offers::publish(&hub, target);
    let tomorrow = now.wall + SignedDuration::from_mins(30 * 60 + 30);
    let good = status(json!({
        "observedGeneration": 3,
        "conditions": [
            condition("Ready", "False", "AgentsFailed", "1 of 61 agents failed"),
            condition("Accepted", "True", "Accepted", ""),
            condition("ResolvedRefs", "True", "Resolved", ""),
            condition("CredentialsValid", "True", "ExpiringSoon", "Secret `token` ends soon"),
        ],
        "revision": {
            "number": 7, "marker": "abcd1234", "startTime": "2026-01-02T03:04:05Z", "cause": "SecretChanged",
        },
        "agents": {"matched": 61, "connected": 61, "upToDate": 60, "failed": 1,
            "evidence": {"settingsHeader": 60}},
        "failures": [{
            "instanceUID": uid(61).to_string(), "reason": "Failed", "message": HOSTILE,
            "time": "2026-01-02T03:04:05Z",
        }],
        "references": [{
            "kind": "Secret", "name": "token", "resourceVersion": "12", "notAfter": tomorrow.to_string(),
        }],
    }));
    let message = format!("Secret `missing` does not exist {HOSTILE}");
    let held = status(json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Ready", "False", "SecretNotFound", &message),
            condition("ResolvedRefs", "False", "SecretNotFound", &message),
        ],
    }));
    for (key, generation, status) in [
        (offers::profile(), 3, good),
        (ProfileKey::new("default", "held"), 2, held),
    ] {
        hub.statuses.set(&key, Known { generation, status });
    }
    Arc::new(hub)
}

async fn start(hub: Option<Arc<Hub>>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let known = Arc::new(OnceLock::new());
    if let Some(hub) = hub {
        known.set(hub).unwrap();
    }
    let admin = Admin::new(known, Registry::default(), CancellationToken::new());
    tokio::spawn(admin.serve(listener));
    address
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn ask(address: SocketAddr, method: &str, host: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

async fn page(address: SocketAddr, path: &str) -> String {
    let answer = ask(address, "GET", "localhost", path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    let html = "content-type: text/html; charset=utf-8";
    assert!(answer.head.contains(html), "{}", answer.head);
    answer.body
}

fn pages() -> Vec<String> {
    let mut all: Vec<_> = [
        "/ui/",
        "/ui/profiles",
        "/ui/profiles/default/agents",
        "/ui/profiles/default/held",
        "/ui/revisions",
        "/ui/agents",
        "/ui/agents?find=evil",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("/ui/profiles/default/agents?after={}", uid(50)));
    all.push(format!("/ui/agents/{}", uid(1)));
    all.push(format!("/ui/agents/{}", uid(61)));
    all
}

/// In this order.
fn holds(page: &str, parts: &[&str]) {
    let mut rest = page;
    for part in parts {
        let at = rest.find(part);
        assert!(at.is_some(), "no `{part}` in order in:\n{page}");
        let at = at.unwrap_or_default();
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn the_overview_says_first_what_is_wrong() {
    let hub = hub();
    let address = start(Some(Arc::clone(&hub))).await;
    let text = page(address, "/ui/").await;
    holds(
        &text,
        &[
            "<h1>Overview</h1>",
            "of 61 known",
            "follows",
            "What is wrong",
            "Operator</span>",
            "synced",
            "Held back</span>",
            "/ui/profiles/default/held",
            "SecretNotFound",
            "Secret <code>missing</code> does not exist",
            "What to do:</strong> Create the Secret",
            "Agents</span>",
            "1 of 61 agents failed",
            "Soon</span>",
            "ExpiringSoon",
            "<h2 id=\"profiles\">",
            "default/agents</a>",
            "<td class=\"number\">61</td><td class=\"number\">61</td><td class=\"number\">60</td><td class=\"number\">7</td>",
            "Soon</span>",
            "in 30 hours",
            "default/held</a>",
        ],
    );
    hub.leads.store(true, Ordering::Relaxed);
    hub.health.set_synced(true);
    hub.health.set_listening();
    let serving = Timestamp::now() + SignedDuration::from_hours(800);
    hub.health.set_serving(Some(serving));
    for key in [offers::profile(), ProfileKey::new("default", "held")] {
        hub.statuses.remove(&key);
    }
    let text = page(address, "/ui/").await;
    let said = ["leads", "in 33 days", "Nothing that this process knows of"];
    holds(&text, &said);
}

#[tokio::test]
async fn a_profile_is_told_with_meaning_remedy_and_agents() {
    let address = start(Some(hub())).await;
    let text = page(address, "/ui/profiles/default/agents").await;
    holds(
        &text,
        &[
            "which is the newest",
            "<h3>Ready",
            "False</span>",
            "AgentsFailed",
            "Meaning:</strong> Agents reported that the settings do not work for them.",
            "What to do:</strong> Look at the logs of these agents.",
            "abcd1234",
            "a Secret changed",
            "every agent that the profile applies to",
            "token</span>",
            "<dt>Up to date</dt><dd><strong>60</strong>",
            "60 by the header that came with the settings",
            "failed or were lost last",
            "node-1<",
            "node-50<",
            "Next page",
        ],
    );
    assert!(!text.contains("node-51<"));
    let next = format!("/ui/profiles/default/agents?after={}", uid(50));
    assert!(text.contains(&format!("href=\"{next}\"")), "{text}");
    let text = page(address, &next).await;
    holds(&text, &["node-51<", "node-60<", "From the beginning"]);
    assert!(!text.contains("node-50<") && !text.contains("Next page"));
    let text = page(address, "/ui/profiles/default/held").await;
    holds(
        &text,
        &["The newest, 2, is not in force", "Create the Secret"],
    );
}

#[tokio::test]
async fn revisions_say_who_may_have_them_and_what_is_held_back() {
    let address = start(Some(hub())).await;
    let text = page(address, "/ui/revisions").await;
    holds(
        &text,
        &[
            "Held back</span>",
            "default/held",
            "SecretNotFound",
            "default/agents</a>",
            ">7<",
            "60 of 61",
            "every agent that the profile applies to",
            "default/held</a>",
            "none",
            "this process has no settings to offer",
        ],
    );
    assert!(!text.contains("AgentsFailed"), "{text}");
}

#[tokio::test]
async fn law10_agents_come_in_pages_and_can_be_found() {
    let address = start(Some(hub())).await;
    let text = page(address, "/ui/agents").await;
    holds(&text, &["node-1<", "node-50<", "Next page"]);
    assert!(!text.contains("node-51<"));
    for (find, count) in [
        ("node-6", 2),
        ("NODE-60", 1),
        ("3C3C3C3C-", 1),
        ("zz", 0),
        ("%3Cscript", 0),
    ] {
        let text = page(address, &format!("/ui/agents?find={find}")).await;
        let rows = text.matches("<th scope=\"row\">").count();
        assert_eq!(rows, count, "{find}: {text}");
    }
    // A search goes on where it was, and is shown as it was written.
    let text = page(address, "/ui/agents?find=node&refresh=60").await;
    let next = format!("find=node&#38;after={}&#38;refresh=60", uid(50));
    holds(&text, &["content=\"60\"", "value=\"node\"", &next]);
}

#[tokio::test]
async fn an_agent_is_told_with_its_evidence_and_why_its_profile_applies() {
    let address = start(Some(hub())).await;
    let text = page(address, &format!("/ui/agents/{}", uid(1))).await;
    holds(
        &text,
        &[
            "<h1>Agent node-1</h1>",
            "Applied</span>",
            "It proved that it runs the revision.",
            "<dt>Revision</dt><dd>7</dd>",
            "by the header that came with the settings",
            "default/agents applies.",
            "Applies</span>",
            "the first, by precedence",
            "NotInForce</span>",
            "SecretNotFound",
            "default/agents#token",
            "AgentToken",
            "otelcol",
            "by WebSocket",
        ],
    );
}

#[tokio::test]
async fn law7_what_others_wrote_is_shown_and_not_obeyed() {
    let address = start(Some(hub())).await;
    let mut shown = 0;
    for path in pages() {
        let text = page(address, &path).await;
        let tag = |tag: &str| text.matches(tag).count();
        assert_eq!(
            (tag("<script"), tag("<img"), tag("onerror=y>")),
            (0, 1, 0),
            "{path}: {text}"
        );
        for hidden in ['\u{202e}', '\u{0}'] {
            assert!(!text.contains(hidden), "{path}: {text}");
        }
        shown += text
            .matches("&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#62;&#60;img src=x onerror=y&#62;\\u{202e}\\u{0}&#38;lt;")
            .count();
    }
    // Messages, failures, hosts, services, subjects and errors.
    assert!(shown >= 12, "{shown}");
}

#[tokio::test]
async fn law7_no_page_holds_what_is_offered_or_what_agents_say_beside_their_names() {
    let hub = hub();
    let address = start(Some(Arc::clone(&hub))).await;
    let target = hub.book.in_force(&offers::profile()).unwrap();
    let marker = target.current.marker().to_hex();
    for path in pages() {
        let text = page(address, &path).await;
        for secret in [offers::OFFERED, CANARY, "BEGIN", "Bearer ", &marker] {
            assert!(!text.contains(secret), "{path}: {secret}");
        }
    }
}

#[tokio::test]
async fn browsers_are_told_what_pages_may_not_do() {
    let address = start(Some(hub())).await;
    for (path, status) in [
        ("/", 303),
        ("/ui", 303),
        ("/ui/", 200),
        ("/ui/style.css", 200),
        ("/ui/icon.svg", 200),
        ("/ui/agents?all=1", 400),
        ("/ui/agents?after=zz", 400),
        ("/ui/agents?refresh=1", 400),
        ("/ui/agents/zz", 400),
        ("/ui/agents/00000000-0000-0000-0000-000000000000", 404),
        ("/ui/profiles/default/none", 404),
        ("/ui/%2e%2e/etc", 404),
    ] {
        let answer = ask(address, "GET", "localhost", path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.head.contains(header), "{path}: {}", answer.head);
        }
    }
    for path in pages() {
        let text = page(address, &path).await;
        for word in ["http://", "https://", " style=", "<style", "javascript:"] {
            assert!(!text.contains(word), "{path}: {word}");
        }
    }
}

#[tokio::test]
async fn pages_are_only_read_and_only_from_here() {
    let address = start(Some(hub())).await;
    let path = format!("/ui/agents/{}", uid(1));
    for path in ["/", "/ui/", "/ui/agents", &path] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = ask(address, method, "localhost", path).await;
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.body);
            assert!(answer.head.contains("allow: get,head"), "{}", answer.head);
        }
    }
    let head = ask(address, "HEAD", "localhost", "/ui/").await;
    assert_eq!((head.status, &*head.body), (200, ""));
    for path in ["/ui/", "/ui/agents", &path] {
        let answer = ask(address, "GET", "evil.example.com", path).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        let guard = "content-security-policy: default-src 'none'";
        assert!(answer.head.contains(guard), "{}", answer.head);
    }
    let unstarted = start(None).await;
    assert_eq!(ask(unstarted, "GET", "localhost", "/ui/").await.status, 503);
}
