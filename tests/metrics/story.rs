//! A real process, agents, and what a scraper sees of them.

use opamp_wire::proto::AgentToServer;

use crate::{
    operator::{Agent, BOOTSTRAP, Operator, sum},
    page::Page,
    reference::{all, describes},
};

const FLEET: [(&str, &str); 2] = [("namespace", "default"), ("profile", "fleet")];

fn offers(page: &Page, outcome: &str) -> u64 {
    let labels = [FLEET[0], FLEET[1], ("outcome", outcome)];
    sum(page, "opamp_operator_offers_total", &labels)
}

fn state(page: &Page, state: &str) -> u64 {
    let labels = [FLEET[0], FLEET[1], ("state", state)];
    sum(page, "opamp_operator_agents", &labels)
}

fn condition(page: &Page, condition: &str, reason: &str) -> u64 {
    let labels = [("condition", condition), ("reason", reason)];
    sum(page, "opamp_operator_profile_condition", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_do_is_seen_by_a_scraper() {
    let operator = Operator::start().await;
    let revision = |page: &Page| sum(page, "opamp_operator_profile_revision", &FLEET);
    let page = operator.until("in force", |page| revision(page) == 1).await;
    assert_eq!(sum(&page, "opamp_operator_leader", &[]), 1);
    assert_eq!(sum(&page, "opamp_operator_ledger_entries", &[]), 1);
    assert_eq!(sum(&page, "opamp_operator_profiles", &[]), 1);
    assert_eq!(condition(&page, "Ready", "NoAgents"), 1);
    assert_eq!(offers(&page, "sent"), 0);
    let started = sum(&page, "process_start_time_seconds", &[]);
    let serving = "opamp_operator_serving_certificate_expiration_timestamp_seconds";
    assert!(started > 1_000_000_000 && sum(&page, serving, &[]) > started);
    assert!(sum(&page, "process_open_fds", &[]) > 3);
    assert!(sum(&page, "process_resident_memory_bytes", &[]) > 1_000_000);

    // An agent, which is offered settings, and comes back with them.
    let mut agent = Agent::new(&operator, 1, BOOTSTRAP);
    let settings = agent.offered().await;
    let page = operator
        .until("offered", |page| state(page, "in_progress") == 1)
        .await;
    assert_eq!((offers(&page, "sent"), state(&page, "up_to_date")), (1, 0));
    assert_eq!(sum(&page, "opamp_operator_agents_outdated", &FLEET), 1);
    assert_eq!(sum(&page, "opamp_operator_agents_connected", &FLEET), 1);
    assert_eq!(sum(&page, "opamp_operator_agents_known", &[]), 1);
    let polls = [("transport", "HTTP")];
    assert_eq!(sum(&page, "opamp_operator_connections", &polls), 1);
    let messages = sum(&page, "opamp_operator_messages_total", &polls);
    let by_token = [("method", "AgentToken"), ("result", "proved")];
    let authenticated = sum(&page, "opamp_operator_authentications_total", &by_token);
    assert!(messages >= 1 && authenticated >= messages);
    agent.take(settings);
    assert_eq!(agent.poll().await.0, 200);
    let page = operator
        .until("proved", |page| state(page, "up_to_date") == 1)
        .await;
    assert_eq!((offers(&page, "sent"), offers(&page, "proved")), (1, 1));
    let rotations = |page: &Page| sum(page, "opamp_operator_rotation_seconds_count", &[]);
    assert_eq!(rotations(&page), 0, "these are its first");
    assert_eq!(sum(&page, "opamp_operator_agents_outdated", &FLEET), 0);
    assert_eq!(
        sum(&page, "opamp_operator_messages_total", &polls),
        messages + 1
    );
    let offered = [("method", "Offered"), ("result", "proved")];
    assert_eq!(
        sum(&page, "opamp_operator_authentications_total", &offered),
        1
    );
    assert_eq!(condition(&page, "Ready", "Complete"), 1);
    assert_eq!(condition(&page, "Ready", "NoAgents"), 0);

    // Whatever is shown is described, and the other way round.
    describes(&page);
    for metric in all() {
        let base = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        assert!(page.contains_key(base), "{base} is described and not there");
    }

    // A second set of settings.
    let began = std::time::Instant::now();
    operator.rotate();
    let settings = agent.offered().await;
    agent.take(settings);
    assert_eq!(agent.poll().await.0, 200);
    let page = operator.until("rotated", |page| {
        revision(page) == 2 && state(page, "up_to_date") == 1
    });
    let page = page.await;
    assert_eq!((offers(&page, "sent"), offers(&page, "proved")), (2, 2));
    assert_eq!(rotations(&page), 1);
    let buckets = |seconds| {
        let bucket = [("le", seconds)];
        sum(&page, "opamp_operator_rotation_seconds_bucket", &bucket)
    };
    assert_eq!(buckets("+Inf"), 1);
    let rotation = &page["opamp_operator_rotation_seconds"].samples;
    let took = rotation.iter().find(|it| it.name.ends_with("_sum"));
    let took: f64 = took.unwrap().value.parse().unwrap();
    assert!(
        took > 0.0 && took <= began.elapsed().as_secs_f64(),
        "{took}"
    );

    // The series of a profile end with it.
    std::fs::remove_file(operator.manifests().join("profile.yaml")).unwrap();
    let page = operator.until("gone", |page| {
        sum(page, "opamp_operator_profiles", &[]) == 0
    });
    let page = page.await;
    let families = page.values().flat_map(|family| &family.samples);
    let named: Vec<_> = families
        .filter(|it| it.labels.contains_key("profile"))
        .collect();
    assert!(named.is_empty(), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_openmetrics_gets_the_older_format() {
    let operator = Operator::start().await;
    for accept in [
        "",
        "Accept: text/plain;version=0.0.4\r\n",
        "Accept: */*\r\n",
    ] {
        let (status, head, body) = operator.get("/metrics", accept).await;
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(
            !body.contains("# EOF") && !body.contains("# UNIT"),
            "{body}"
        );
        assert!(
            body.contains("# TYPE opamp_operator_messages_total counter\n"),
            "{body}"
        );
        assert!(body.ends_with('\n'));
    }
    // From afar no other page is read.
    assert_eq!(operator.get("/profiles", "").await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_is_counted_by_why() {
    let operator = Operator::start().await;
    let mut stranger = Agent::new(&operator, 9, "a-token-that-nobody-knows");
    assert_eq!(stranger.poll().await.0, 401);
    let nothing = operator.poll("", &AgentToServer::default()).await;
    assert_eq!(nothing.0, 401);
    operator.knock().await;
    let page = operator.until("a connection without TLS", |page| {
        let tls = [("reason", "tls")];
        sum(page, "opamp_operator_connections_refused_total", &tls) == 1
    });
    let page = page.await;
    let refused = |page: &Page, reason| {
        let reason = [("reason", reason)];
        sum(
            page,
            "opamp_operator_authentications_refused_total",
            &reason,
        )
    };
    assert_eq!(refused(&page, "unknown_credentials"), 1);
    assert_eq!(refused(&page, "no_credentials"), 1);
    assert_eq!(sum(&page, "opamp_operator_messages_total", &[]), 0);
    assert_eq!(sum(&page, "opamp_operator_agents_known", &[]), 0);
}
