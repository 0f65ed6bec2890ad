//! ServiceAccounts: what the Kubernetes API is asked, and how often.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opamp_operator::{
    backend::{Judged, Question, Standing},
    hub::{Gone, Reviews},
    server::Limits,
};
use opamp_operator_core::identity::{
    Authenticator, Bearer, Bound, Fingerprint, ServiceAccount, Sources,
};
use opamp_wire::{
    Message as _,
    proto::{AgentToServer, AnyValue, KeyValue, any_value::Value},
};
use secrecy::ExposeSecret as _;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    identity::{bearer, refused, uid},
    world::{SOON, World, ask, close_code, hello, tokens},
};

/// A token for `opamp` in the form of a JWT, as the API server gives them out.
pub(crate) const ACCOUNT_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsib3BhbXAiXX0.c2lnbmF0dXJl";

fn account() -> ServiceAccount {
    ServiceAccount {
        namespace: "default".into(),
        name: "agents".into(),
        uid: "uid-of-agents".into(),
        pod: Some(Bound {
            name: "pod-1".into(),
            uid: "uid-of-pod-1".into(),
        }),
        node: None,
        expires: None,
    }
}

fn asking(reviews: &Arc<Reviews>) -> JoinHandle<(Bearer, Option<Gone>)> {
    let reviews = Arc::clone(reviews);
    tokio::spawn(async move {
        let fingerprint = Fingerprint::of_authorization(b"Bearer x");
        reviews.ask("cluster", "opamp", "x", fingerprint).await
    })
}

#[tokio::test(start_paused = true)]
async fn law8_an_identity_is_reviewed_when_its_token_ends_and_not_cut_off_for_that() {
    let (questions, mut asked) = mpsc::channel(4);
    let reviews = Arc::new(Reviews::new(questions, Duration::from_secs(3600)));
    let asking = asking(&reviews);
    let Some(Question::Token { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    let ends = jiff::Timestamp::now() + Duration::from_secs(600);
    let account = ServiceAccount {
        expires: Some(ends),
        ..account()
    };
    let begun = tokio::time::Instant::now();
    answer.send(Judged::Vouched(Box::new(account))).unwrap();
    let gone = asking.await.unwrap().1.unwrap();
    let Some(Question::Standing { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    let waited = begun.elapsed().as_secs();
    assert!((590..=600).contains(&waited), "{waited}");
    answer.send(Standing::Stands).unwrap();
    assert!(matches!(
        asked.recv().await,
        Some(Question::Standing { .. })
    ));
    assert!(begun.elapsed().as_secs() >= 3240 + waited);
    assert!(!*gone.borrow());
}

/// A fleet that came back at once is not asked about at once an hour later.
#[tokio::test(start_paused = true)]
async fn law10_who_came_together_is_not_reviewed_together() {
    const FLEET: usize = 64;
    let (questions, mut asked) = mpsc::channel(2 * FLEET);
    let reviews = Arc::new(Reviews::new(questions, Duration::from_secs(3600)));
    let mut asking = Vec::new();
    for number in 0..FLEET {
        let reviews = Arc::clone(&reviews);
        asking.push(tokio::spawn(async move {
            let token = number.to_string();
            let fingerprint = Fingerprint::of_authorization(token.as_bytes());
            reviews.ask("cluster", "opamp", &token, fingerprint).await
        }));
    }
    for number in 0..FLEET {
        let Some(Question::Token { answer, .. }) = asked.recv().await else {
            panic!("no question")
        };
        let pod = Bound {
            name: "pod".into(),
            uid: number.to_string(),
        };
        let account = ServiceAccount {
            pod: Some(pod),
            ..account()
        };
        answer.send(Judged::Vouched(Box::new(account))).unwrap();
    }
    let mut here = Vec::new();
    for asking in asking {
        here.push(asking.await.unwrap().1.unwrap());
    }
    let begun = tokio::time::Instant::now();
    let mut moments = std::collections::BTreeSet::new();
    for _ in 0..FLEET {
        let Some(Question::Standing { answer, .. }) = asked.recv().await else {
            panic!("no question")
        };
        moments.insert(begun.elapsed().as_secs());
        answer.send(Standing::Stands).unwrap();
    }
    assert!(moments.last() <= Some(&3600), "{moments:?}");
    assert!(moments.len() > FLEET / 2, "{moments:?}");
}

/// What is kept of a token is not kept beyond its end.
#[tokio::test(start_paused = true)]
async fn law2_a_token_that_ends_meanwhile_is_asked_about_again() {
    let (questions, mut asked) = mpsc::channel(4);
    let reviews = Arc::new(Reviews::new(questions, Duration::from_secs(3600)));
    let ask = || asking(&reviews);
    let asking = ask();
    let Some(Question::Token { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    let account = ServiceAccount {
        expires: Some(jiff::Timestamp::now() + Duration::from_secs(20)),
        ..account()
    };
    answer.send(Judged::Vouched(Box::new(account))).unwrap();
    let (bearer, _here) = asking.await.unwrap();
    assert!(matches!(bearer, Bearer::Vouched(_)));
    tokio::time::advance(Duration::from_secs(21)).await;
    let mut asking = ask();
    let said = loop {
        tokio::select! {
            said = &mut asking => break said.unwrap().0,
            question = asked.recv() => match question {
                Some(Question::Token { answer, .. }) => {
                    let expired = Judged::Denied("it has expired".into());
                    answer.send(expired).unwrap();
                }
                Some(Question::Standing { answer, .. }) => answer.send(Standing::Stands).unwrap(),
                None => panic!("no question"),
            },
        }
    };
    assert_eq!(said, Bearer::Nobody);
}

fn cluster() -> Sources {
    let mut authenticators = tokens();
    authenticators.push(Authenticator::ServiceAccount {
        name: "cluster".into(),
        audience: "opamp".into(),
    });
    Sources {
        authenticators,
        ..Sources::default()
    }
}

/// Answers the next question about a token.
async fn answer_with(asked: &mut mpsc::Receiver<Question>, judged: Judged) {
    let asked = timeout(SOON, asked.recv()).await;
    match asked.expect("a question in time") {
        Some(Question::Token {
            audience,
            token,
            answer,
        }) => {
            assert_eq!(audience, "opamp");
            assert_eq!(token.expose_secret(), ACCOUNT_TOKEN);
            answer.send(judged).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

fn says(message: AgentToServer, key: &str, value: &str) -> AgentToServer {
    let mut message = message;
    let pair = KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.into())),
        }),
    };
    let description = message.agent_description.get_or_insert_default();
    description.non_identifying_attributes.push(pair);
    message
}

#[tokio::test]
async fn law2_a_service_account_is_asked_about_once_and_bound() {
    let mut world = World::start(Limits::default()).await;
    world.judge(cluster());
    let (mut asked, headers) = (world.asked(), bearer(ACCOUNT_TOKEN));
    // Nobody could say: neither 401 nor an answer that is kept.
    let body = hello(1).encode_to_vec();
    let post = || world.post(&headers, &body);
    let unknown = Judged::Unknown("no answer".into());
    let ((), (status, _)) = tokio::join!(answer_with(&mut asked, unknown), post());
    assert_eq!(status, 503);
    let vouched = Judged::Vouched(Box::new(account()));
    let ((), (status, _)) = tokio::join!(answer_with(&mut asked, vouched), post());
    assert_eq!(status, 200);
    // Kept: nobody answers any more.
    assert_eq!(post().await.0, 200);
    let record = world.hub.roster.record(uid(1), "default").unwrap();
    let binding = record.binding.unwrap().to_string();
    assert_eq!(binding, "default/ServiceAccount/cluster/agents");
    // What it says of its Pod must be true.
    let lie = says(hello(1), "k8s.pod.name", "pod-2");
    let answer = world.ask(&headers, &lie.encode_to_vec()).await;
    assert_eq!(answer.status, 403);
    let mut socket = world.upgrade(Some(ACCOUNT_TOKEN)).await.unwrap();
    let error = ask(&mut socket, &lie).await.error_response.unwrap();
    assert!(error.error_message.contains("k8s.pod.name"), "{error:?}");
    let mut socket = world.upgrade(Some(ACCOUNT_TOKEN)).await.unwrap();
    let truth = says(hello(1), "k8s.pod.name", "pod-1");
    assert!(ask(&mut socket, &truth).await.error_response.is_none());
    // The Pod is deleted: the session ends, and what was kept counts no more.
    world.hub.reviews.pod_gone("uid-of-another-pod");
    assert!(ask(&mut socket, &truth).await.error_response.is_none());
    world.hub.reviews.pod_gone("uid-of-pod-1");
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Policy));
    let denied = Judged::Denied("the Pod is gone".into());
    let ((), (status, _)) = tokio::join!(answer_with(&mut asked, denied), post());
    assert_eq!(status, 401);
}

#[tokio::test]
async fn s12_law2_a_service_account_that_is_deleted_takes_its_sessions_along() {
    let mut world = World::start(Limits::default()).await;
    let existing = |accounts: BTreeMap<String, String>| Sources {
        service_accounts: Arc::new([("default".to_owned(), accounts)].into()),
        ..cluster()
    };
    let agents = [("agents".to_owned(), "uid-of-agents".to_owned())];
    world.judge(existing(agents.into()));
    let (mut asked, headers) = (world.asked(), bearer(ACCOUNT_TOKEN));
    let vouched = Judged::Vouched(Box::new(account()));
    let body = hello(1).encode_to_vec();
    tokio::join!(
        answer_with(&mut asked, vouched),
        world.post(&headers, &body)
    );
    let mut socket = world.upgrade(Some(ACCOUNT_TOKEN)).await.unwrap();
    ask(&mut socket, &hello(1)).await;
    world.judge(existing(BTreeMap::new()));
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Policy));
    assert!(refused(&world, ACCOUNT_TOKEN).await);
}

#[tokio::test(start_paused = true)]
async fn law8_the_api_is_asked_again_now_and_then_about_those_who_are_here() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (questions, mut asked) = mpsc::channel(4);
    let reviews = Arc::new(Reviews::new(questions, HOUR));
    let ask = || asking(&reviews);
    // Three at once are one question.
    let together = [ask(), ask(), ask()];
    let Some(Question::Token { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    answer.send(Judged::Vouched(Box::new(account()))).unwrap();
    let mut gone = None;
    for one in together {
        let (bearer, told) = one.await.unwrap();
        assert!(matches!(bearer, Bearer::Vouched(_)));
        gone = told;
    }
    let mut gone = gone.expect("somebody who may go");
    // As long as it stands, or nobody can say, it stays.
    for standing in [Standing::Stands, Standing::Unknown("no answer".into())] {
        let Some(Question::Standing { vouched, answer }) = asked.recv().await else {
            panic!("no question")
        };
        assert_eq!(vouched.identity.subject, "agents");
        answer.send(standing).unwrap();
        assert!(!*gone.borrow());
    }
    let Some(Question::Standing { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    answer.send(Standing::Gone("the role is".into())).unwrap();
    gone.changed().await.unwrap();
    assert!(*gone.borrow());
    // A refusal is kept for a short time: somebody may be about to be let in.
    for expected in [true, false] {
        let one = ask();
        if expected {
            let Some(Question::Token { answer, .. }) = asked.recv().await else {
                panic!("no question")
            };
            answer.send(Judged::Denied("no".into())).unwrap();
        }
        assert_eq!(one.await.unwrap().0, Bearer::Nobody);
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    let _again = ask();
    assert!(matches!(asked.recv().await, Some(Question::Token { .. })));
}

/// Whoever is let in by it may be gone, and nobody watches.
#[tokio::test(start_paused = true)]
async fn law2_what_the_api_said_counts_for_a_minute() {
    let (questions, mut asked) = mpsc::channel(4);
    let reviews = Arc::new(Reviews::new(questions, Duration::from_secs(3600)));
    let ask = || asking(&reviews);
    let first = ask();
    let Some(Question::Token { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    answer.send(Judged::Vouched(Box::new(account()))).unwrap();
    assert!(matches!(first.await.unwrap().0, Bearer::Vouched(_)));
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(matches!(ask().await.unwrap().0, Bearer::Vouched(_)));
    assert!(asked.try_recv().is_err(), "it was kept");
    tokio::time::advance(Duration::from_secs(2)).await;
    let later = ask();
    let Some(Question::Token { answer, .. }) = asked.recv().await else {
        panic!("no question")
    };
    answer.send(Judged::Denied("gone".into())).unwrap();
    assert_eq!(later.await.unwrap().0, Bearer::Nobody);
}

#[tokio::test(start_paused = true)]
async fn law10_an_answer_that_never_comes_is_not_waited_for() {
    let (questions, _asked) = mpsc::channel(4);
    let reviews = Reviews::new(questions, Duration::from_secs(3600));
    let fingerprint = Fingerprint::of_authorization(b"Bearer x");
    let (bearer, _) = reviews.ask("cluster", "opamp", "x", fingerprint).await;
    assert_eq!(bearer, Bearer::NotYet);
}
