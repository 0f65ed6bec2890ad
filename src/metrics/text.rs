//! The older text format, which every scraper reads.

/// The same page in that format: it gives a counter's description the name of
/// the counter itself, and knows neither units nor an end.
pub(super) fn prometheus(openmetrics: &str) -> String {
    let mut page = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let described = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let Some((name, help)) = described else {
            page.push_str(line);
            page.push('\n');
            continue;
        };
        let kind = lines
            .next_if(|line| line.starts_with("# TYPE "))
            .and_then(|line| line.rsplit(' ').next())
            .unwrap_or("untyped");
        let total = if kind == "counter" { "_total" } else { "" };
        for part in [
            "# HELP ", name, total, " ", help, "\n", "# TYPE ", name, total, " ", kind, "\n",
        ] {
            page.push_str(part);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_older_format_does_not_know_is_left_out() {
        let openmetrics = "# HELP a_b_seconds Some.\n# TYPE a_b_seconds counter\n# UNIT a_b_seconds seconds\n\
            a_b_seconds_total{x=\"# EOF\"} 1\n# HELP c More.\n# TYPE c gauge\nc 2\n# EOF\n";
        let text = "# HELP a_b_seconds_total Some.\n# TYPE a_b_seconds_total counter\n\
            a_b_seconds_total{x=\"# EOF\"} 1\n# HELP c More.\n# TYPE c gauge\nc 2\n";
        assert_eq!(prometheus(openmetrics), text);
    }
}
