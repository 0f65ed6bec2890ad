//! What the specification asks of a server, row by row, and which tests show
//! each row. A test shows a row by naming its id as a word of its own
//! (`m08_both_ask_for_..`). Where a row is about both transports, the words
//! `ws`, `http` or `both` say which one a test speaks over; they count only in
//! tests that look from outside. `docs/conformance.md` is made of all this.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

mod page;
mod rows;
mod sources;

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    rows::{Applies, ROWS, Row},
    sources::Test,
};

/// What is wrong with the tests of these rows.
fn faults(rows: &[Row], tests: &[Test]) -> Vec<String> {
    let mut faults = Vec::new();
    for row in rows {
        let shown_by: Vec<_> = tests.iter().filter(|test| test.shows(row.id)).collect();
        if shown_by.is_empty() {
            faults.push(format!("{} has no test", row.id));
            continue;
        }
        for (mark, transport) in [("ws", "a WebSocket"), ("http", "HTTP")] {
            let marked = shown_by.iter().any(|test| test.speaks(mark));
            if row.applies == Applies::Both && !marked {
                faults.push(format!("{} has no test over {transport}", row.id));
            }
        }
    }
    for test in tests {
        for id in test.ids() {
            if !rows.iter().any(|row| row.id.eq_ignore_ascii_case(id)) {
                faults.push(format!("{} names {id}, which is no row", test.name));
            }
        }
    }
    faults
}

#[test]
fn every_row_has_its_tests_and_every_test_its_rows() {
    let faults = faults(&ROWS.concat(), &sources::all());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rows_are_counted_without_a_gap() {
    let ids: BTreeSet<_> = ROWS.concat().iter().map(|row| row.id).collect();
    let counts = [('T', 12), ('M', 18), ('C', 4), ('S', 13), ('R', 6)];
    let expected = counts
        .into_iter()
        .flat_map(|(letter, count)| (1..=count).map(move |n| format!("{letter}{n:02}")));
    assert!(expected.eq(ROWS.concat().iter().map(|row| row.id.to_owned())));
    assert_eq!(ids.len(), ROWS.concat().len());
}

#[test]
fn the_page_says_what_the_table_and_the_tests_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let page = page::page(&ROWS, &sources::all());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/conformance.md is not what the rows and their tests make; run `make generate`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &'static str, applies: Applies) -> Row {
        Row {
            id,
            applies,
            ..ROWS[0][0]
        }
    }

    fn found(path: &str, source: &str) -> Vec<Test> {
        sources::tests(path, source)
    }

    #[test]
    fn only_functions_that_run_as_tests_count() {
        let source = "
            // #[test] fn t01_both_in_a_comment() {}
            fn t01_both_helper() {}
            #[test] #[ignore] fn t01_both_ignored() {}
            const TEXT: &str = \"#[test] fn t01_both_in_a_text() {}\";
            mod inner {
                #[tokio::test(flavor = \"multi_thread\")]
                async fn law1_t02_both_runs() {}
            }
        ";
        let tests = found("tests/a.rs", source);
        assert_eq!(tests.len(), 1);
        let rows = [row("T01", Applies::Both), row("T02", Applies::Both)];
        assert_eq!(faults(&rows, &tests), ["T01 has no test"]);
    }

    #[test]
    fn both_transports_are_asked_for_where_both_apply() {
        let rows = [row("T01", Applies::Both), row("T04", Applies::WebSocket)];
        let over = |names: [&str; 2], path: &str| {
            let source = names.map(|name| format!("#[test] fn {name}() {{}}"));
            faults(&rows, &found(path, &source.concat()))
        };
        let outside = "e2e/tests/a.rs";
        assert!(over(["t01_both_x", "t04_x"], outside).is_empty());
        assert!(over(["t01_http_ws_x", "t04_x"], outside).is_empty());
        assert_eq!(
            over(["t01_ws_x", "t04_x"], outside),
            ["T01 has no test over HTTP"]
        );
        assert_eq!(
            over(["t01_http_x", "t04_x"], outside),
            ["T01 has no test over a WebSocket"]
        );
        // `bothersome` is no mark, and a unit speaks over nothing.
        assert_eq!(over(["t01_bothersome", "t04_x"], outside).len(), 2);
        assert_eq!(
            over(["t01_both_x", "t04_x"], "crates/wire/src/a.rs").len(),
            2
        );
    }

    #[test]
    fn a_row_that_does_not_exist_is_noticed() {
        let tests = found("tests/a.rs", "#[test] fn t01_both_s14_h12_law5_x1() {}");
        let rows = [row("T01", Applies::Both)];
        let expected = ["t01_both_s14_h12_law5_x1 names s14, which is no row"];
        assert_eq!(faults(&rows, &tests), expected);
    }
}
