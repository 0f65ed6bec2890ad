//! Pages for people, in HTML: read only, without a script, and made on the
//! server. What others wrote is [`Text`], and the templates escape it.

mod agent;
mod agents;
mod asked;
mod overview;
mod profile;
mod revisions;
mod words;
mod wrong;

use askama::Template;
use axum::http::{StatusCode, Uri};
use opamp_operator_api::ProfileKey;
use opamp_wire::InstanceUid;

use self::{
    asked::{Asked, Next},
    words::When,
};
use crate::hub::Hub;

/// How the pages look.
pub(super) const STYLE: &str = include_str!("../../../templates/style.css");
/// What browsers show beside the title.
pub(super) const ICON: &str = include_str!("../../../templates/icon.svg");

/// Rows of a page.
const ROWS: usize = 50;

/// A page and its status.
pub(super) type Made = (StatusCode, String);

/// What stands around every page.
struct Frame {
    title: String,
    /// The entry of the navigation that it belongs to.
    within: &'static str,
    version: &'static str,
    made: When,
    /// Every how many seconds the browser asks again.
    refresh: Option<u16>,
    /// The same page that is asked for again, or is not any more.
    toggled: String,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    said: &'static str,
}

/// Why there is no page.
struct NoPage(StatusCode, &'static str);

type Page = Result<String, NoPage>;

const NOTHING: NoPage = NoPage(StatusCode::NOT_FOUND, "There is no such page.");

/// The page that is asked for.
pub(super) fn page(hub: &Hub, uri: &Uri) -> Made {
    let asked = match Asked::read(uri, hub.clock.now().wall) {
        Ok(asked) => asked,
        Err((asked, said)) => return no_page(&asked, &NoPage(StatusCode::BAD_REQUEST, said)),
    };
    let parts: Vec<_> = uri.path().trim_matches('/').split('/').collect();
    let page = match parts.as_slice() {
        ["ui"] => overview::page(hub, &asked),
        ["ui", "profiles"] => overview::profiles(hub, &asked),
        ["ui", "profiles", namespace, name] => {
            profile::page(hub, &asked, &ProfileKey::new(*namespace, *name))
        }
        ["ui", "agents"] => agents::page(hub, &asked),
        ["ui", "agents", text] => match text.parse::<InstanceUid>() {
            Ok(uid) => agent::page(hub, &asked, uid),
            Err(_) => Err(NoPage(
                StatusCode::BAD_REQUEST,
                "An instance UID is a UUID, as the list of agents shows it.",
            )),
        },
        ["ui", "revisions"] => revisions::page(hub, &asked),
        _ => Err(NOTHING),
    };
    match page {
        Ok(html) => (StatusCode::OK, html),
        Err(why) => no_page(&asked, &why),
    }
}

fn no_page(asked: &Asked, why: &NoPage) -> Made {
    let title = why.0.canonical_reason().unwrap_or("No page");
    let frame = asked.frame(title, "");
    let page = ProblemPage { frame, said: why.1 }.render();
    (why.0, page.unwrap_or_default())
}

fn render(page: &impl Template) -> Page {
    page.render().map_err(|_| {
        let said = "The page cannot be written.";
        NoPage(StatusCode::INTERNAL_SERVER_ERROR, said)
    })
}
