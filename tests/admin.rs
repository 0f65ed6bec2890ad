//! The pages of the admin listener, asked over loopback.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{
    net::SocketAddr,
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opamp_operator::{
    admin::{Admin, Explanation},
    hub::{Facts, Hub, Known, Reviews, Roster, Unknown},
    metrics::{Process, Registry},
};
use opamp_operator_api::{
    Identity, IdentityMethod, ProfileKey,
    agent::SettingsState,
    v1alpha1::{AgentSelector, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    catalog::Candidate,
    fleet::{About, AgentRecord, DEFAULT_INTERVAL},
};
use opamp_wire::InstanceUid;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

const AGENTS: u8 = 5;

fn uid(number: u8) -> InstanceUid {
    InstanceUid::from_bytes([number; 16])
}

fn record(number: u8) -> AgentRecord {
    AgentRecord {
        uid: uid(number),
        namespace: "a".into(),
        binding: Some(Identity {
            namespace: "a".into(),
            method: IdentityMethod::AgentToken,
            authenticator: "bootstrap".into(),
            subject: "token".into(),
        }),
        bound_at: None,
        pod: None,
        attributes: None,
        profile: Some(ProfileKey::new("a", "all")),
        overridden: Vec::new(),
        told: None,
        connected: None,
        interval: DEFAULT_INTERVAL,
        capable: false,
        receives: false,
        cannot_return: false,
        exhausted: false,
        state: SettingsState::Pending,
        proved: None,
        last_offer: None,
        offered: Vec::new(),
        since: jiff::Timestamp::UNIX_EPOCH,
        last_contact: jiff::Timestamp::UNIX_EPOCH,
        about: About::default(),
    }
}

fn candidate(namespace: &str, name: &str, uids: &[InstanceUid]) -> Candidate {
    Candidate {
        profile: ProfileKey::new(namespace, name),
        priority: 0,
        admin: false,
        selector: Arc::new(AgentSelector {
            instance_uids: uids.iter().map(ToString::to_string).collect(),
            ..AgentSelector::default()
        }),
    }
}

/// Five agents of namespace `a`, three profiles that can be chosen, and one
/// whose Secret is missing.
fn hub() -> Arc<Hub> {
    let (questions, _) = mpsc::channel(1);
    let roster = Roster::new(99, 99);
    let hub = Hub::new(
        roster,
        Duration::ZERO,
        Reviews::new(questions, Duration::from_secs(3600)),
    );
    for number in 1..=AGENTS {
        hub.roster.restore(record(number), hub.clock.now());
    }
    let all = vec![
        candidate("a", "all", &[]),
        candidate("a", "few", &[uid(2)]),
        candidate("b", "all", &[]),
    ];
    hub.book.publish_candidates(all, Unknown::default());
    let status: OpAMPConnectionProfileStatus = serde_json::from_value(json!({
        "conditions": [{
            "type": "ResolvedRefs", "status": "False", "reason": "SecretNotFound",
            "message": "Secret `s` does not exist", "lastTransitionTime": "2026-01-02T03:04:05Z",
        }],
    }))
    .unwrap();
    for (name, status) in [
        ("all", OpAMPConnectionProfileStatus::default()),
        ("broken", status),
    ] {
        let known = Known {
            generation: 3,
            status,
        };
        hub.statuses.set(&ProfileKey::new("a", name), known);
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
    let registry = Registry::default();
    registry.add(Process::begins());
    if let Some(hub) = known.get() {
        registry.add(Facts::new(Arc::clone(hub)));
    }
    let admin = Admin::new(known, registry, CancellationToken::new());
    tokio::spawn(admin.serve(listener));
    address
}

/// Status and body.
async fn get_as(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn page(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get_as(address, "localhost", path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_saphyr::from_str(&body).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    let name = |item: &'_ Value| item["metadata"]["name"].as_str().is_some();
    assert!(items.iter().all(name), "{list}");
    items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect()
}

#[tokio::test]
async fn profiles_and_agents_are_lists_of_objects() {
    let address = start(Some(hub())).await;
    let profiles = page(address, "/profiles").await;
    assert_eq!(names(&profiles), ["all", "broken"]);
    let broken = &profiles["items"][1];
    assert_eq!(broken["metadata"]["generation"], 3);
    assert_eq!(
        broken["status"]["conditions"][0]["reason"],
        "SecretNotFound"
    );
    let agents = page(address, "/agents").await;
    assert_eq!(names(&agents).len(), usize::from(AGENTS));
    assert_eq!(agents["items"][0]["kind"], "OpAMPAgent");
    let one = page(address, &format!("/agents/{}", uid(3))).await;
    assert_eq!(one["spec"]["instanceUID"], uid(3).to_string());
}

#[tokio::test]
async fn law10_a_page_has_a_limit_and_says_where_to_go_on() {
    let address = start(Some(hub())).await;
    let mut seen = Vec::new();
    let mut path = "/agents?limit=2".to_owned();
    loop {
        let list = page(address, &path).await;
        let names: Vec<String> = names(&list).into_iter().map(ToOwned::to_owned).collect();
        assert!(names.len() <= 2, "{names:?}");
        seen.extend(names);
        match list["metadata"]["continue"].as_str() {
            Some(after) => path = format!("/agents?limit=2&after={after}"),
            None => break,
        }
    }
    let all: Vec<_> = (1..=AGENTS).map(|number| uid(number).to_string()).collect();
    assert_eq!(seen, all);
    let first = page(address, "/profiles?limit=1").await;
    assert_eq!(first["metadata"]["continue"], "a/all");
    let second = page(address, "/profiles?limit=1&after=a/all").await;
    assert_eq!(names(&second), ["broken"]);
    assert_eq!(second["metadata"]["continue"], Value::Null);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let address = start(Some(hub())).await;
    for (path, status) in [
        ("/agents/zz", 400),
        ("/agents?limit=0", 400),
        ("/agents?after=zz", 400),
        ("/agents?all=1", 400),
        ("/agents/00000000-0000-0000-0000-000000000000", 404),
        ("/other", 404),
    ] {
        let (found, body) = get_as(address, "localhost", path).await;
        assert_eq!(found, status, "{path}: {body}");
    }
    let unstarted = start(None).await;
    assert_eq!(get_as(unstarted, "localhost", "/agents").await.0, 503);
    let (status, text) = get_as(unstarted, "localhost", "/readyz").await;
    assert!(status == 503 && text.starts_with("[-]started"), "{text}");
    assert_eq!(get_as(unstarted, "localhost", "/livez").await.0, 200);
}

#[tokio::test]
async fn a_probe_says_which_check_fails() {
    let hub = hub();
    let address = start(Some(Arc::clone(&hub))).await;
    let ask = async |path: &str| get_as(address, "kubelet.example.com", path).await;
    hub.health.set_synced(true);
    hub.health.set_listening();
    let (status, text) = ask("/readyz").await;
    assert!(
        status == 503 && text.starts_with("[-]certificate: "),
        "{text}"
    );
    assert!(!text.contains("synced"), "{text}");
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    hub.health.set_serving(Some(tomorrow));
    assert_eq!(ask("/readyz").await, (200, "ok\n".into()));
    let (status, text) = ask("/readyz?verbose").await;
    let all = "[+]synced ok\n[+]certificate ok\n[+]listening ok\n[+]running ok\nok\n";
    assert_eq!((status, text.as_str()), (200, all));
    let (status, text) = ask("/livez?verbose").await;
    assert_eq!(
        (status, text.as_str()),
        (200, "[+]controller ok\nok\n"),
        "no Lease without a cluster"
    );
    // Whoever ends is alive, and takes no more agents.
    hub.health.set_ending();
    assert_eq!(ask("/readyz").await.0, 503);
    assert_eq!(ask("/livez").await.0, 200);
}

/// A browser on this machine may be led here under any name, but not under ours.
#[tokio::test]
async fn pages_are_for_callers_that_mean_this_machine() {
    let address = start(Some(hub())).await;
    let own = address.to_string();
    for (host, path, status) in [
        ("localhost:8081", "/agents", 200),
        (own.as_str(), "/agents", 200),
        ("[::1]:8081", "/agents", 200),
        ("evil.example.com", "/agents", 403),
        ("localhost.example.com", "/profiles", 403),
        // Probes are for everyone.
        ("evil.example.com", "/livez", 200),
    ] {
        let (found, body) = get_as(address, host, path).await;
        assert_eq!(found, status, "{host} {path}: {body}");
    }
}

#[tokio::test]
async fn an_explanation_names_every_profile_once() {
    let address = start(Some(hub())).await;
    let path = format!("/agents/{}/explanation", uid(1));
    let (status, body) = get_as(address, "localhost", &path).await;
    assert_eq!(status, 200, "{body}");
    let found: Vec<Explanation> = serde_saphyr::from_str(&body).unwrap();
    let [explanation] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(explanation.answer, "a/all applies");
    let lines = explanation.profiles.iter();
    let lines: Vec<_> = lines
        .map(|line| {
            (
                line.profile.as_str(),
                line.verdict.as_str(),
                line.because.as_str(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            (
                "a/all",
                "Applies",
                "the first, by precedence, of those that select the agent"
            ),
            ("a/few", "NotSelected", "`instanceUIDs` lacks the agent's"),
            (
                "b/all",
                "OtherNamespace",
                "it selects agents of its own namespace, and this one is at home in `a`"
            ),
            (
                "a/broken",
                "NotInForce",
                "ResolvedRefs=False/SecretNotFound: Secret `s` does not exist"
            ),
        ]
    );
}

#[tokio::test]
async fn law10_an_explanation_has_a_limit() {
    let hub = hub();
    let many: Vec<_> = (0..300)
        .map(|number| candidate("a", &format!("p{number}"), &[uid(9)]))
        .collect();
    hub.book.publish_candidates(many, Unknown::default());
    let address = start(Some(hub)).await;
    let path = format!("/agents/{}/explanation", uid(1));
    let (_, body) = get_as(address, "localhost", &path).await;
    let found: Vec<Explanation> = serde_saphyr::from_str(&body).unwrap();
    assert_eq!(found[0].profiles.len(), 100);
    assert_eq!(found[0].left_out, 202, "{}", found[0].answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_table() {
    let address = start(Some(hub())).await;
    let explain = move |uid: String| {
        let output = Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
            .args(["explain", "--agent", &uid, "--admin", &address.to_string()])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let known = uid(2).to_string();
    let (done, text) = tokio::task::spawn_blocking(move || explain(known))
        .await
        .unwrap();
    assert!(done, "{text}");
    assert!(text.contains("a/all applies"), "{text}");
    let few = text.lines().find(|line| line.starts_with("a/few")).unwrap();
    assert!(
        few.contains("Outranked") && few.contains("a/all comes first by name"),
        "{few}"
    );
    let unknown = uid(77).to_string();
    let (done, text) = tokio::task::spawn_blocking(move || explain(unknown))
        .await
        .unwrap();
    assert!(
        !done && text.contains("no agent of this instance UID"),
        "{text}"
    );
}
