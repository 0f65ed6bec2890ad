//! What is asked of the Kubernetes API, counted where every request passes.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response};
use tower::{Layer, Service};

use crate::metrics::{Counter, Kind, Label, Metric, Page, Source, Values};

/// Resources, and how they are called here. Reviews are questions, no writes.
const RESOURCES: [(&str, &str); 7] = [
    ("opampconnectionprofiles", "OpAMPConnectionProfile"),
    ("opampagents", "OpAMPAgent"),
    ("events", "Event"),
    ("controllerrevisions", "ControllerRevision"),
    ("leases", "Lease"),
    ("configmaps", "ConfigMap"),
    ("secrets", "Secret"),
];
const KINDS: [&str; RESOURCES.len()] = {
    let mut kinds = [""; RESOURCES.len()];
    let mut place = 0;
    while place < kinds.len() {
        kinds[place] = RESOURCES[place].1;
        place += 1;
    }
    kinds
};
const RESULTS: [&str; 4] = ["success", "conflict", "missing", "error"];
const VERBS: [&str; 5] = ["get", "create", "update", "patch", "delete"];

static WRITES: Metric = Metric {
    name: "opamp_operator_kubernetes_writes_total",
    kind: Kind::Counter,
    unit: None,
    labels: &[
        Label {
            name: "kind",
            values: Values::Of(&KINDS),
        },
        Label {
            name: "result",
            values: Values::Of(&RESULTS),
        },
    ],
    help: "Requests that create, change or delete an object, by the answer of the Kubernetes API: it was changed or made by somebody else (conflict, part of the normal course), is not there (missing), or anything else, or none (error).",
};
static FAILED: Metric = Metric {
    name: "opamp_operator_kubernetes_requests_failed_total",
    kind: Kind::Counter,
    unit: None,
    labels: &[Label {
        name: "verb",
        values: Values::Of(&VERBS),
    }],
    help: "Requests that the Kubernetes API did not answer, or answered 401, 403, 429 or 5xx; `get` is also for lists and watches.",
};

/// See the module.
#[derive(Debug, Default)]
pub struct Requests {
    writes: [[Counter; RESULTS.len()]; RESOURCES.len()],
    failed: [Counter; VERBS.len()],
}

impl Requests {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[&WRITES, &FAILED];

    fn note(&self, asked: Asked, answer: Option<u16>) {
        if matches!(answer, None | Some(401 | 403 | 429 | 500..)) {
            self.failed[asked.verb].inc();
        }
        let result = match answer {
            Some(200..=299) => 0,
            Some(409) => 1,
            Some(404) => 2,
            _ => 3,
        };
        if let Some(kind) = asked.writes {
            self.writes[kind][result].inc();
        }
    }
}

impl Source for Requests {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut samples = page.metric(&WRITES)?;
        for (kind, results) in KINDS.iter().zip(&self.writes) {
            for (result, counter) in RESULTS.iter().zip(results) {
                samples.value(&[kind, result], counter.get())?;
            }
        }
        let failed = self.failed.iter().map(Counter::get);
        page.values(&FAILED, VERBS.into_iter().zip(failed))
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    verb: usize,
    writes: Option<usize>,
}

impl Asked {
    fn by(method: &Method, path: &str) -> Self {
        let verb = match *method {
            Method::POST => 1,
            Method::PUT => 2,
            Method::PATCH => 3,
            Method::DELETE => 4,
            _ => 0,
        };
        let mut parts = path.split('/').skip_while(|part| *part != "namespaces");
        let resource = parts.nth(2);
        let known = |resource| RESOURCES.iter().position(|(name, _)| *name == resource);
        Self {
            verb,
            writes: resource.and_then(known).filter(|_| verb != 0),
        }
    }
}

/// Counts an answer; without one when it is dropped, since nobody waits any more.
struct Pending {
    requests: Arc<Requests>,
    asked: Asked,
    answer: Option<u16>,
}

impl Pending {
    fn answered(&mut self, code: u16) {
        self.answer = Some(code);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.requests.note(self.asked, self.answer);
    }
}

/// Puts itself before a client.
#[derive(Clone, Debug)]
pub(super) struct Counting(pub(super) Arc<Requests>);

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            requests: Arc::clone(&self.0),
        }
    }
}

pub(super) struct Counted<S> {
    inner: S,
    requests: Arc<Requests>,
}

type Answering<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S, B, C> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut pending = Pending {
            requests: Arc::clone(&self.requests),
            asked: Asked::by(request.method(), request.uri().path()),
            answer: None,
        };
        let answering = self.inner.call(request);
        Box::pin(async move {
            let answer = answering.await?;
            pending.answered(answer.status().as_u16());
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use kube::{Api, Client, api::ListParams, client::Body};
    use opamp_operator_api::v1alpha1::OpAMPConnectionProfile;

    use super::*;

    #[test]
    fn a_write_is_known_by_its_path() {
        let by = |method, path| {
            let asked = Asked::by(&method, path);
            (VERBS[asked.verb], asked.writes.map(|kind| KINDS[kind]))
        };
        let profile =
            "/apis/opamp-operator.dev/v1alpha1/namespaces/secrets/opampconnectionprofiles/p/status";
        assert_eq!(
            by(Method::PATCH, profile),
            ("patch", Some("OpAMPConnectionProfile"))
        );
        let secrets = "/api/v1/namespaces/a/secrets";
        assert_eq!(by(Method::POST, secrets), ("create", Some("Secret")));
        assert_eq!(by(Method::GET, secrets), ("get", None));
        let review = "/apis/authentication.k8s.io/v1/tokenreviews";
        assert_eq!(by(Method::POST, review), ("create", None));
    }

    #[tokio::test]
    async fn what_fails_and_what_is_not_answered_counts() {
        let requests = Arc::<Requests>::default();
        let service = tower::service_fn(|request: Request<Body>| async move {
            if request.method() == Method::DELETE {
                std::future::pending::<()>().await;
            }
            Response::builder().status(503).body(Body::empty())
        });
        let service = Counting(Arc::clone(&requests)).layer(service);
        let api: Api<OpAMPConnectionProfile> = Api::namespaced(Client::new(service, "a"), "a");
        assert!(api.list(&ListParams::default()).await.is_err());
        let how = kube::api::DeleteParams::default();
        let deleting = tokio::time::timeout(std::time::Duration::ZERO, api.delete("p", &how));
        assert!(deleting.await.is_err());
        let failed = requests.failed.each_ref().map(Counter::get);
        assert!(failed[0] >= 1 && failed[4] == 1, "{failed:?}");
        assert_eq!(requests.writes[0][3].get(), 1);
    }
}
