//! `docs/conformance.md`.

use std::fmt::Write as _;

use crate::{
    rows::{Applies, Row},
    sources::Test,
};

const HEAD: &str = "\
# What the OpAMP specification asks of a server

Every requirement on a server in the specification (v0.18.0 and its head of July 2026), in our words, how this server meets it, and the tests that show it. Where a safety law of the README goes further, the law wins, and the row says so.

Levels: M must, S should, P may. Tests are named after the rows that they show; `ws`, `http` and `both` in a name say which transport an agent speaks over. A test holds that no row lacks its tests, and writes this page (`make generate`): edit `tests/requirements/rows` instead.
";

const TITLES: [&str; 5] = [
    "Transport",
    "Messages",
    "Connections",
    "Connection settings",
    "Certificate requests",
];

/// The page, of rows in groups.
pub(crate) fn page(groups: &[&[Row]; 5], tests: &[Test]) -> String {
    let mut page = HEAD.to_owned();
    for (title, rows) in TITLES.iter().zip(groups) {
        write!(
            page,
            "\n## {title}\n\n| id | level | over | the server | how | tests |\n|---|---|---|---|---|---|\n"
        )
        .unwrap();
        for row in *rows {
            let over = match row.applies {
                Applies::Both => "both",
                Applies::WebSocket => "WebSocket",
                Applies::Http => "HTTP",
            };
            let mut names: Vec<_> = tests.iter().filter(|test| test.shows(row.id)).collect();
            names.dedup_by_key(|test| &test.name);
            let names: Vec<_> = names
                .iter()
                .map(|test| format!("`{}`", test.name))
                .collect();
            writeln!(
                page,
                "| {} | {} | {over} | {} | {} | {} |",
                row.id,
                row.level,
                row.asks,
                row.how,
                names.join("<br>")
            )
            .unwrap();
        }
    }
    page
}
