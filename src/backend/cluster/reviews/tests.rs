//! Against an API whose answers and faults are made up: what a real one says is
//! seen in the tests on a control plane.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Method, Request, Response};
use kube::client::Body;
use opamp_operator_api::values::{Identity, IdentityMethod};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use super::*;

const AUDIENCE: &str = "opamp-operator.dev";
/// Ends in the year 2100.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2lnbmF0dXJl";

/// What the API answers to a request: code and object.
type Answers = fn(&str, &Value) -> (u16, Value);

#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

fn api(answers: Answers, asked: &Arc<Asked>) -> Client {
    let asked = Arc::clone(asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let asked = Arc::clone(&asked);
        async move {
            let create = request.method() == Method::POST;
            let path = request.uri().path().to_owned();
            let last = path.rsplit('/').next().unwrap_or_default().to_owned();
            let body = request.into_body().collect_bytes().await.unwrap();
            let body = if create {
                serde_json::from_slice(&body).unwrap()
            } else {
                Value::Null
            };
            asked.0.lock().unwrap().push(last.clone());
            let (code, answer) = answers(&last, &body);
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            Response::builder().status(code).body(answer)
        }
    });
    Client::new(service, "ops")
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}

fn review(extra: &Value) -> (u16, Value) {
    let user = json!({
        "username": "system:serviceaccount:team-a:edge", "uid": "1",
        "groups": ["system:serviceaccounts"], "extra": extra,
    });
    let status = json!({"authenticated": true, "audiences": [AUDIENCE], "user": user});
    (201, json!({"spec": {}, "status": status}))
}

fn access(status: &Value) -> (u16, Value) {
    (201, json!({"spec": {}, "status": status}))
}

/// Everything is as it should be.
fn good(last: &str, body: &Value) -> (u16, Value) {
    let pod = json!({"authentication.kubernetes.io/pod-name": ["edge-0"],
        "authentication.kubernetes.io/pod-uid": ["2"],
        "authentication.kubernetes.io/node-name": ["node-1"]});
    match last {
        "tokenreviews" => {
            assert_eq!(body["spec"]["audiences"], json!([AUDIENCE]));
            assert_eq!(body["spec"]["token"], TOKEN);
            review(&pod)
        }
        "subjectaccessreviews" => {
            let spec = &body["spec"];
            assert_eq!(spec["user"], "system:serviceaccount:team-a:edge");
            assert_eq!(spec["groups"][0], "system:serviceaccounts");
            assert_eq!(spec["extra"], pod);
            assert_eq!(
                spec["resourceAttributes"],
                json!({"namespace": "team-a", "verb": "connect", "group": "opamp-operator.dev",
                    "resource": "opampagents"})
            );
            access(&json!({"allowed": true}))
        }
        "edge" => (200, json!({"metadata": {"name": "edge", "uid": "1"}})),
        "edge-0" => (200, json!({"metadata": {"name": "edge-0", "uid": "2"}})),
        other => panic!("nobody asks for {other}"),
    }
}

struct Bench {
    reviewer: Reviewer,
    asked: Arc<Asked>,
    seen: watch::Sender<Seen>,
    homes: watch::Sender<Homes>,
}

fn bench(answers: Answers) -> Bench {
    let asked = Arc::default();
    let homes = watch::Sender::new(Homes {
        namespaces: BTreeSet::from(["team-a".to_owned()]),
        service_accounts: true,
    });
    let seen = watch::Sender::new(Seen::new());
    let remedy = Remedy::new("system:serviceaccount:ops:operator");
    Bench {
        reviewer: Reviewer::new(
            api(answers, &asked),
            remedy,
            homes.subscribe(),
            seen.subscribe(),
        ),
        asked,
        seen,
        homes,
    }
}

async fn judge(bench: &Bench) -> Judged {
    bench.reviewer.token(AUDIENCE, &TOKEN.into()).await
}

fn denied(judged: Judged) -> String {
    match judged {
        Judged::Denied(why) => why,
        other => panic!("not denied: {other:?}"),
    }
}

fn unknown(judged: Judged) -> String {
    match judged {
        Judged::Unknown(why) => why,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn somebody_whom_the_api_knows_and_lets_connect_is_vouched_for() {
    let bench = bench(good);
    let expected = ServiceAccount {
        namespace: "team-a".into(),
        name: "edge".into(),
        uid: "1".into(),
        pod: Some(Bound {
            name: "edge-0".into(),
            uid: "2".into(),
        }),
        node: Some("node-1".into()),
        expires: Some("2100-01-01T00:00:00Z".parse().unwrap()),
    };
    assert_eq!(judge(&bench).await, Judged::Vouched(Box::new(expected)));
    let asked = bench.asked.0.lock().unwrap().join(" ");
    assert_eq!(asked, "tokenreviews edge-0 subjectaccessreviews");
}

#[tokio::test]
async fn law2_nobody_is_asked_whether_a_stranger_may_connect() {
    let bench = bench(good);
    bench.homes.send_replace(Homes::default());
    let why = denied(judge(&bench).await);
    assert!(why.contains("homeNamespaces"), "{why}");
    assert_eq!(*bench.asked.0.lock().unwrap(), ["tokenreviews"]);
}

/// The same as `good`, with one answer that says no.
macro_rules! with {
    ($last:literal, $answer:expr) => {
        |last, body| {
            if last == $last {
                $answer
            } else {
                good(last, body)
            }
        }
    };
}

#[tokio::test]
async fn law2_every_no_of_the_api_is_a_no() {
    let table: [(Answers, &str); 8] = [
        (
            with!(
                "tokenreviews",
                access(&json!({"authenticated": false, "error": "expired"}))
            ),
            "expired",
        ),
        (
            with!("tokenreviews", {
                let (code, mut answer) = review(&json!({}));
                answer["status"]["audiences"] = json!(["https://kubernetes.default.svc"]);
                (code, answer)
            }),
            "our audience",
        ),
        (
            // An API server that knows no audiences.
            with!("tokenreviews", {
                let (code, mut answer) = review(&json!({}));
                answer["status"]["audiences"].take();
                (code, answer)
            }),
            "our audience",
        ),
        (
            with!("tokenreviews", {
                let (code, mut answer) = review(&json!({}));
                answer["status"]["user"]["username"] = json!("system:node:edge");
                (code, answer)
            }),
            "not a ServiceAccount's",
        ),
        (
            with!("subjectaccessreviews", access(&json!({"allowed": false}))),
            "kubectl create role opamp-agent-edge -n team-a --verb=connect",
        ),
        (
            with!("subjectaccessreviews", access(&json!({"allowed": false}))),
            "an administrator of the namespace binds the chart's ClusterRole",
        ),
        (
            with!("edge-0", failure(404, "NotFound", "no such Pod")),
            "Pod team-a/edge-0 is gone",
        ),
        (
            // Another Pod of the same name.
            with!(
                "edge-0",
                (200, json!({"metadata": {"name": "edge-0", "uid": "3"}}))
            ),
            "Pod team-a/edge-0 is gone",
        ),
    ];
    for (answers, words) in table {
        let why = denied(judge(&bench(answers)).await);
        assert!(why.contains(words), "{words} in {why}");
    }
}

#[tokio::test]
async fn whoever_cannot_answer_says_neither_yes_nor_no() {
    let table: [(Answers, &str); 6] = [
        (
            with!("tokenreviews", failure(500, "InternalError", "etcd")),
            "etcd (500)",
        ),
        (
            with!("tokenreviews", failure(403, "Forbidden", "may not")),
            "kubectl create clusterrole",
        ),
        (
            with!("tokenreviews", (201, json!({"spec": {}}))),
            "reviewed nothing",
        ),
        (
            with!("edge-0", failure(403, "Forbidden", "may not")),
            "--resource=serviceaccounts,pods",
        ),
        (
            // Not the API's own word.
            with!("edge-0", failure(404, "", "no route")),
            "no route (404)",
        ),
        (
            with!(
                "subjectaccessreviews",
                access(&json!({"allowed": false, "evaluationError": "webhook"}))
            ),
            "webhook",
        ),
    ];
    for (answers, words) in table {
        let why = unknown(judge(&bench(answers)).await);
        assert!(why.contains(words), "{words} in {why}");
    }
}

#[tokio::test]
async fn law7_an_answer_that_repeats_the_token_is_not_logged() {
    let repeats: [Answers; 2] = [
        with!(
            "tokenreviews",
            failure(500, "InternalError", "cannot read eyJleHAiOjQxMDI0NDQ4MDB9")
        ),
        with!(
            "tokenreviews",
            access(&json!({"authenticated": false, "error": format!("bad token {TOKEN}")}))
        ),
    ];
    for answers in repeats {
        let judged = format!("{:?}", judge(&bench(answers)).await);
        for part in TOKEN.split('.') {
            assert!(!judged.contains(part), "{judged}");
        }
    }
}

fn told(bench: &Bench, account: &str, uid: &str) {
    let accounts = [(account.to_owned(), uid.to_owned())].into();
    let seen = [("team-a".to_owned(), accounts)].into();
    bench.seen.send_replace(seen);
}

#[tokio::test(start_paused = true)]
async fn who_is_too_new_for_the_watch_is_waited_for() {
    let bench = bench(good);
    told(&bench, "edge", "0");
    let why = unknown(judge(&bench).await);
    assert!(why.contains("watch"), "{why}");
    let (judged, ()) = tokio::join!(judge(&bench), async {
        tokio::task::yield_now().await;
        told(&bench, "edge", "1");
    });
    assert!(matches!(judged, Judged::Vouched(_)), "{judged:?}");
}

#[tokio::test]
async fn law2_an_api_that_goes_by_what_it_knew_before_is_not_enough() {
    let gone: [Answers; 2] = [
        with!("edge", failure(404, "NotFound", "no such ServiceAccount")),
        with!(
            "edge",
            (200, json!({"metadata": {"name": "edge", "uid": "9"}}))
        ),
    ];
    for answers in gone {
        let bench = bench(answers);
        told(&bench, "other", "7");
        let why = denied(judge(&bench).await);
        assert!(why.contains("ServiceAccount team-a/edge is gone"), "{why}");
    }
}

fn vouched(pod: bool) -> Arc<Vouched> {
    let pod = pod.then(|| Bound {
        name: "edge-0".into(),
        uid: "2".into(),
    });
    Arc::new(Vouched {
        identity: Identity {
            namespace: "team-a".into(),
            method: IdentityMethod::ServiceAccount,
            authenticator: "cluster".into(),
            subject: "edge".into(),
        },
        by: Voucher::Kubernetes {
            uid: "1".into(),
            pod,
        },
        expires: None,
        attributes: [("k8s.node.name".to_owned(), "node-1".to_owned())].into(),
    })
}

#[tokio::test]
async fn whoever_is_still_there_and_may_connect_stands() {
    let again: Answers = |last, body| {
        if last == "subjectaccessreviews" {
            let spec = &body["spec"];
            assert_eq!(spec["user"], "system:serviceaccount:team-a:edge");
            assert_eq!(
                spec["groups"],
                json!([
                    "system:serviceaccounts",
                    "system:serviceaccounts:team-a",
                    "system:authenticated"
                ])
            );
            return access(&json!({"allowed": true}));
        }
        good(last, body)
    };
    let bench = bench(again);
    assert_eq!(
        bench.reviewer.standing(&vouched(true)).await,
        Standing::Stands
    );
    let asked = bench.asked.0.lock().unwrap().join(" ");
    assert_eq!(asked, "edge edge-0 subjectaccessreviews");
}

#[tokio::test]
async fn whoever_is_gone_or_may_not_connect_any_more_does_not_stand() {
    let gone: [Answers; 4] = [
        with!("edge", failure(404, "NotFound", "no such ServiceAccount")),
        with!(
            "edge",
            (200, json!({"metadata": {"name": "edge", "uid": "9"}}))
        ),
        with!("edge-0", failure(404, "NotFound", "no such Pod")),
        |last, body| match last {
            "subjectaccessreviews" => access(&json!({"allowed": false})),
            last => good(last, body),
        },
    ];
    for answers in gone {
        let standing = bench(answers).reviewer.standing(&vouched(true)).await;
        assert!(matches!(standing, Standing::Gone(_)), "{standing:?}");
    }
    let faults: [Answers; 3] = [
        with!("edge", failure(403, "Forbidden", "may not")),
        with!("edge-0", failure(500, "InternalError", "etcd")),
        with!(
            "subjectaccessreviews",
            failure(503, "ServiceUnavailable", "later")
        ),
    ];
    for answers in faults {
        let standing = bench(answers).reviewer.standing(&vouched(true)).await;
        assert!(matches!(standing, Standing::Unknown(_)), "{standing:?}");
    }
}

#[tokio::test]
async fn law10_only_so_much_is_asked_at_once() {
    static ROOM: Semaphore = Semaphore::const_new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static NOW: AtomicUsize = AtomicUsize::new(0);
    let service = tower::service_fn(|_: Request<Body>| async {
        let now = NOW.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(now, Ordering::SeqCst);
        ROOM.acquire().await.unwrap().forget();
        NOW.fetch_sub(1, Ordering::SeqCst);
        let (code, answer) = failure(500, "InternalError", "etcd");
        Response::builder()
            .status(code)
            .body(Body::from(serde_json::to_vec(&answer).unwrap()))
    });
    let Bench { homes, seen, .. } = bench(good);
    let client = Client::new(service, "ops");
    let (homes, seen) = (homes.subscribe(), seen.subscribe());
    let reviewer = Reviewer::new(client, Remedy::new("ann"), homes, seen);
    let (questions, asked) = mpsc::channel(200);
    let running = tokio::spawn(reviewer.run(asked));
    let mut answers = Vec::new();
    for _ in 0..100 {
        let (answer, answered) = oneshot::channel();
        let audience = AUDIENCE.to_owned();
        let token = TOKEN.into();
        questions
            .send(Question::Token {
                audience,
                token,
                answer,
            })
            .await
            .unwrap();
        answers.push(answered);
    }
    while MOST.load(Ordering::SeqCst) < AT_ONCE {
        tokio::task::yield_now().await;
    }
    ROOM.add_permits(100);
    for answered in answers {
        unknown(answered.await.unwrap());
    }
    assert_eq!(MOST.load(Ordering::SeqCst), AT_ONCE);
    // Nobody asks any more.
    drop(questions);
    running.await.unwrap();
}
