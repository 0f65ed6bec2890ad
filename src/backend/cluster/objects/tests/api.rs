//! An API that knows Secrets: lists and watches by name and by label, by whose
//! rights, and how many of them there were.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, channel::mpsc, stream};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use opamp_operator_api::OFFERABLE_LABEL;
use serde_json::{Value, json};

/// What may be listed and watched.
#[derive(Clone)]
pub(super) enum May {
    /// All Secrets.
    All,
    /// Each of these, by its name: a Role with `resourceNames`.
    Names(BTreeSet<String>),
}

#[derive(Clone, PartialEq)]
enum Selector {
    Name(String),
    Label,
}

impl Selector {
    fn takes(&self, secret: Option<&Value>) -> bool {
        secret.is_some_and(|secret| match self {
            Self::Name(name) => secret["metadata"]["name"] == **name,
            Self::Label => secret["metadata"]["labels"][OFFERABLE_LABEL] == "true",
        })
    }

    /// What a watch says of a change.
    fn event(&self, change: &Change) -> Option<Frame<bytes::Bytes>> {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let (kind, object) = match (self.takes(before), self.takes(after)) {
            (false, false) => return None,
            (false, true) => ("ADDED", after),
            (true, true) => ("MODIFIED", after),
            (true, false) => ("DELETED", before),
        };
        let mut object = object.cloned()?;
        object["metadata"]["resourceVersion"] = json!(change.version.to_string());
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        Some(Frame::data(line.into()))
    }
}

#[derive(Clone)]
struct Change {
    version: u64,
    before: Option<Value>,
    after: Option<Value>,
}

type Answer = UnsyncBoxBody<bytes::Bytes, Infallible>;
type Line = Result<Frame<bytes::Bytes>, Infallible>;

struct State {
    secrets: BTreeMap<String, Value>,
    changes: Vec<Change>,
    may: May,
    watches: Vec<(Selector, mpsc::UnboundedSender<Line>)>,
    lists: usize,
    watched: usize,
    /// Lists that wait for their answer; the most there were.
    asking: usize,
    most_asking: usize,
}

/// See the module.
#[derive(Clone)]
pub(super) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    pub(super) fn new(may: May) -> Self {
        let state = State {
            secrets: BTreeMap::new(),
            changes: Vec::new(),
            may,
            watches: Vec::new(),
            lists: 0,
            watched: 0,
            asking: 0,
            most_asking: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, uri) = (api.clone(), request.uri().clone());
            async move { api.answer(uri).await }
        });
        Client::new(service, "a")
    }

    /// What may be read from now on. Watches that are open stay so.
    pub(super) fn allow(&self, may: May) {
        self.0.lock().unwrap().may = may;
    }

    /// Ends every watch.
    pub(super) fn cut(&self) {
        self.0.lock().unwrap().watches.clear();
    }

    /// Writes a Secret, with the label or without; returns its version.
    pub(super) fn put(&self, name: &str, labelled: bool) -> String {
        let mut state = self.0.lock().unwrap();
        let version = state.version() + 1;
        let labels = if labelled {
            json!({OFFERABLE_LABEL: "true"})
        } else {
            json!({})
        };
        let metadata = json!({"name": name, "namespace": "a", "labels": labels,
            "resourceVersion": version.to_string()});
        let secret = json!({"metadata": metadata, "type": "Opaque"});
        state.change(name, Some(secret));
        version.to_string()
    }

    pub(super) fn delete(&self, name: &str) {
        self.0.lock().unwrap().change(name, None);
    }

    /// The version of a Secret that there is.
    pub(super) fn version(&self, name: &str) -> Option<String> {
        let state = self.0.lock().unwrap();
        let version = &state.secrets.get(name)?["metadata"]["resourceVersion"];
        version.as_str().map(str::to_owned)
    }

    /// Requests to list and to watch, and watches that are open now.
    pub(super) fn cost(&self) -> Cost {
        let mut state = self.0.lock().unwrap();
        state.watches.retain(|(_, watch)| !watch.is_closed());
        Cost {
            lists: state.lists,
            watches: state.watched,
            open: state.watches.len(),
            most_asking: state.most_asking,
        }
    }

    async fn answer(&self, uri: Uri) -> Result<Response<Answer>, Infallible> {
        let query = url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
        let query: BTreeMap<String, String> = query.into_owned().collect();
        let name = query.get("fieldSelector").map(|fields| {
            let name = fields.strip_prefix("metadata.name=").unwrap();
            Selector::Name(name.to_owned())
        });
        let selector = name.unwrap_or_else(|| {
            let label = format!("{OFFERABLE_LABEL}=true");
            assert_eq!(query.get("labelSelector"), Some(&label));
            Selector::Label
        });
        let watch = query.get("watch").is_some_and(|watch| watch == "true");
        if !watch {
            self.0.lock().unwrap().asks();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (answer, late) = self.judge(selector, watch, &query);
        tokio::time::sleep(late).await;
        Ok(answer)
    }

    /// The answer, and how long it is on its way.
    fn judge(
        &self,
        selector: Selector,
        watch: bool,
        query: &BTreeMap<String, String>,
    ) -> (Response<Answer>, Duration) {
        let mut state = self.0.lock().unwrap();
        state.asking -= usize::from(!watch);
        let may = match (&state.may, &selector) {
            (May::All, _) => true,
            (May::Names(names), Selector::Name(name)) => names.contains(name),
            (May::Names(_), Selector::Label) => false,
        };
        let (code, body) = if !may {
            let status = json!({"kind": "Status", "status": "Failure", "code": 403,
                "reason": "Forbidden", "message": "secrets is forbidden"});
            (403, whole(&status))
        } else if watch {
            (
                200,
                state.watch(selector, query["resourceVersion"].parse().unwrap()),
            )
        } else {
            (200, state.list(&selector))
        };
        let answer = Response::builder().status(code).body(body).unwrap();
        (answer, state.late())
    }
}

impl State {
    fn version(&self) -> u64 {
        self.changes.last().map_or(1, |change| change.version)
    }

    /// No two connections are equally fast.
    fn late(&self) -> Duration {
        let requests = u64::try_from(self.lists + self.watched).unwrap();
        Duration::from_millis(requests * 7 % 31)
    }

    fn asks(&mut self) {
        self.lists += 1;
        self.asking += 1;
        self.most_asking = self.most_asking.max(self.asking);
    }

    fn change(&mut self, name: &str, after: Option<Value>) {
        let before = match after.clone() {
            Some(secret) => self.secrets.insert(name.to_owned(), secret),
            None => self.secrets.remove(name),
        };
        let version = self.version() + 1;
        let change = Change {
            version,
            before,
            after,
        };
        for (selector, watch) in &self.watches {
            if let Some(event) = selector.event(&change) {
                let _ = watch.unbounded_send(Ok(event));
            }
        }
        self.changes.push(change);
    }

    fn list(&self, selector: &Selector) -> Answer {
        let all = self.secrets.values();
        let items: Vec<_> = all.filter(|secret| selector.takes(Some(secret))).collect();
        let metadata = json!({"resourceVersion": self.version().to_string()});
        whole(&json!({"metadata": metadata, "items": items}))
    }

    /// All since a version, and all that follows.
    fn watch(&mut self, selector: Selector, since: u64) -> Answer {
        self.watched += 1;
        let missed = self.changes.iter().filter(|change| change.version > since);
        let missed: Vec<Line> = missed.filter_map(|c| selector.event(c)).map(Ok).collect();
        let (sender, lines) = mpsc::unbounded();
        self.watches.push((selector, sender));
        let late = self.late();
        let lines = stream::iter(missed)
            .chain(lines)
            .then(move |line| async move {
                tokio::time::sleep(late).await;
                line
            });
        StreamBody::new(lines).boxed_unsync()
    }
}

fn whole(object: &Value) -> Answer {
    Full::new(object.to_string().into()).boxed_unsync()
}

/// What a mode asks of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) lists: usize,
    pub(super) watches: usize,
    pub(super) open: usize,
    pub(super) most_asking: usize,
}
