//! Profiles and agents as the objects that they are, without specs: these are
//! for people to write, and may hold what is no business of a page.

use axum::http::{StatusCode, Uri};
use opamp_operator_api::{API_VERSION, ProfileKey};
use opamp_wire::InstanceUid;
use serde::Serialize;
use serde_json::{Value, json};

use super::{NoPage, explanation};
use crate::{backend::to_agent, hub::Hub};

/// Objects of a page, if the caller does not say how many, and at most.
const LIMIT: usize = 500;

/// The text of a page.
pub(super) fn page(hub: &Hub, uri: &Uri) -> Result<String, NoPage> {
    let query = Query::read(uri)?;
    let parts: Vec<_> = uri.path().trim_start_matches('/').split('/').collect();
    let uid = |text: &str| {
        text.parse::<InstanceUid>().map_err(|_| {
            let problem = "an instance UID is a UUID, as `kubectl get opampagents` shows it\n";
            (StatusCode::BAD_REQUEST, problem)
        })
    };
    match parts.as_slice() {
        ["profiles"] => yaml(&profiles(hub, &query)),
        ["agents"] => {
            let after = query.after.as_deref().map(uid).transpose()?;
            yaml(&agents(hub, after, query.limit))
        }
        ["agents", text] => {
            let found = hub.roster.records_of(uid(text)?);
            let found: Vec<_> = found.iter().filter_map(to_agent).collect();
            match found.as_slice() {
                [] => Err(UNKNOWN),
                [one] => yaml(one),
                several => yaml(&list(&several, None)),
            }
        }
        ["agents", text, "explanation"] => {
            let explanations = explanation::of(hub, uid(text)?);
            if explanations.is_empty() {
                return Err(UNKNOWN);
            }
            yaml(&explanations)
        }
        _ => Err((StatusCode::NOT_FOUND, "no such page\n")),
    }
}

const UNKNOWN: NoPage = (
    StatusCode::NOT_FOUND,
    "no agent of this instance UID is known\n",
);

struct Query {
    limit: usize,
    after: Option<String>,
}

impl Query {
    fn read(uri: &Uri) -> Result<Self, NoPage> {
        let (mut limit, mut after) = (LIMIT, None);
        let query = uri.query().unwrap_or_default().as_bytes();
        for (name, value) in url::form_urlencoded::parse(query) {
            match (&*name, value.parse::<usize>()) {
                ("limit", Ok(number)) if number > 0 => limit = number.min(LIMIT),
                ("after", _) => after = Some(value.into_owned()),
                _ => {
                    let problem =
                        "the query may hold `limit` (a number) and `after` (where to go on)\n";
                    return Err((StatusCode::BAD_REQUEST, problem));
                }
            }
        }
        Ok(Self { limit, after })
    }
}

fn profiles(hub: &Hub, query: &Query) -> Value {
    let after = query.after.as_deref().and_then(|after| {
        let (namespace, name) = after.split_once('/')?;
        Some(ProfileKey::new(namespace, name))
    });
    let mut page = hub.statuses.page(after.as_ref(), query.limit + 1);
    let more = page.len() > query.limit;
    page.truncate(query.limit);
    let last = page.last().map(|(key, _)| key.to_string());
    let objects: Vec<_> = page
        .iter()
        .map(|(key, known)| {
            json!({
                "apiVersion": API_VERSION,
                "kind": "OpAMPConnectionProfile",
                "metadata": {
                    "namespace": key.namespace, "name": key.name, "generation": known.generation,
                },
                "status": known.status,
            })
        })
        .collect();
    list(&objects, last.filter(|_| more))
}

fn agents(hub: &Hub, after: Option<InstanceUid>, limit: usize) -> Value {
    let (records, more) = hub.roster.page(after, limit);
    let last = records.last().map(|record| record.uid.to_string());
    // Who proved nothing is no object anywhere.
    let objects: Vec<_> = records.iter().filter_map(to_agent).collect();
    list(&objects, last.filter(|_| more))
}

/// As the Kubernetes API shows one; `continue` is what `after` takes.
fn list(items: &impl Serialize, next: Option<String>) -> Value {
    let metadata = next.map_or(json!({}), |next| json!({"continue": next}));
    json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items})
}

fn yaml(value: &impl Serialize) -> Result<String, NoPage> {
    serde_saphyr::to_string(value).map_err(|_| {
        let problem = "the page cannot be written as YAML\n";
        (StatusCode::INTERNAL_SERVER_ERROR, problem)
    })
}
