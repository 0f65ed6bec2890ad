//! However many profiles there are, and however many ask.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opamp_operator::{
    admin::Admin,
    hub::{Facts, Hub, Known, Reviews, Roster},
    metrics::{Form, Registry},
};
use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfileStatus};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    operator::sum,
    page::{Page, read},
    reference::describes,
};

fn hub() -> Arc<Hub> {
    let (questions, _) = mpsc::channel(1);
    let reviews = Reviews::new(questions, Duration::from_secs(3600));
    Arc::new(Hub::new(Roster::new(9, 9), Duration::ZERO, reviews))
}

fn key(number: usize) -> ProfileKey {
    ProfileKey::new("a", format!("p{number:04}"))
}

/// A profile with two agents, one of which has what it should.
fn known(number: usize) -> Known {
    let status: OpAMPConnectionProfileStatus = serde_json::from_value(json!({
        "conditions": [{"type": "Ready", "status": "False", "reason": "RolloutInProgress", "message": "m",
            "lastTransitionTime": "2026-01-02T03:04:05Z"}],
        "revision": {"number": 7, "marker": "m", "startTime": "2026-01-02T03:04:05Z", "cause": "SecretChanged"},
        "agents": {"matched": 2, "connected": 2, "upToDate": 1, "pending": 1},
        "references": [
            {"kind": "Secret", "name": "s", "notAfter": format!("{}-01-02T03:04:05Z", 2030 + number % 3)},
            {"kind": "ConfigMap", "name": "c"},
        ],
    }))
    .unwrap();
    Known {
        generation: 1,
        status,
    }
}

fn page(hub: &Arc<Hub>) -> Page {
    let registry = Registry::default();
    registry.add(Facts::new(Arc::clone(hub)));
    let page = read(&registry.page(Form::OpenMetrics).unwrap()).unwrap();
    describes(&page);
    page
}

fn profiles(page: &Page) -> BTreeSet<&str> {
    let samples = page.values().flat_map(|family| &family.samples);
    samples
        .filter_map(|sample| Some(&**sample.labels.get("profile")?))
        .collect()
}

#[test]
fn law10_the_thousand_and_first_profile_is_another() {
    let hub = hub();
    for number in 0..1001 {
        hub.statuses.set(&key(number), known(number));
    }
    let full = page(&hub);
    let names = profiles(&full);
    assert_eq!(names.len(), 1001);
    assert!(names.contains("other") && names.contains("p0999") && !names.contains("p1000"));
    let other = [("namespace", ""), ("profile", "other")];
    assert_eq!(sum(&full, "opamp_operator_agents", &other), 2);
    assert_eq!(sum(&full, "opamp_operator_agents_outdated", &other), 1);
    assert_eq!(sum(&full, "opamp_operator_profile_condition", &other), 1);
    let end = "opamp_operator_certificate_expiration_timestamp_seconds";
    assert_eq!(sum(&full, end, &other), 1_925_089_445);
    assert_eq!(sum(&full, "opamp_operator_profiles", &[]), 1001);
    // Of all of them.
    assert_eq!(sum(&full, "opamp_operator_agents_connected", &[]), 2002);
    // More of them are no more series.
    let count = |page: &Page| {
        page.values()
            .map(|family| family.samples.len())
            .sum::<usize>()
    };
    for number in 1001..1500 {
        hub.statuses.set(&key(number), known(number));
    }
    let more = page(&hub);
    assert_eq!(count(&more), count(&full));
    assert_eq!(sum(&more, "opamp_operator_profile_condition", &other), 500);
    // One that goes takes its series along, and the next that comes has room.
    hub.statuses.remove(&key(3));
    let less = page(&hub);
    assert!(!profiles(&less).contains("p0003"));
    hub.statuses.set(&key(2000), known(0));
    assert!(profiles(&page(&hub)).contains("p2000"));
    for number in 0..2001 {
        hub.statuses.remove(&key(number));
    }
    assert_eq!(profiles(&page(&hub)), BTreeSet::new());
}

#[tokio::test]
async fn law10_many_scrapers_are_served_one_after_the_other() {
    let hub = hub();
    for number in 0..1000 {
        hub.statuses.set(&key(number), known(number));
    }
    let registry = Registry::default();
    registry.add(Facts::new(Arc::clone(&hub)));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let admin = Admin::new(
        Arc::new(OnceLock::new()),
        registry,
        CancellationToken::new(),
    );
    tokio::spawn(admin.serve(listener));
    let ask = || async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answers = futures::future::join_all((0..8).map(|_| ask())).await;
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{}", &answer[..40]);
        assert!(answer.contains("profile=\"p0999\""));
    }
}
