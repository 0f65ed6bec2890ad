//! Numbers for people, and where an axis has its lines.

/// As Grafana shows a value of a unit, about.
pub(super) fn shown(value: f64, unit: &str) -> String {
    match unit {
        "s" => duration(value),
        "bytes" => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB"]),
        "reqps" => format!("{} /s", plain(value)),
        _ => scaled(value, 1000.0, &["", "K", "M", "G"]),
    }
}

fn duration(seconds: f64) -> String {
    let size = seconds.abs();
    for (length, name) in [(86_400.0, "days"), (3600.0, "h"), (60.0, "min")] {
        if size >= 2.0 * length {
            return format!("{} {name}", plain(seconds / length));
        }
    }
    if size > 0.0 && size < 1.0 {
        return format!("{} ms", plain(seconds * 1000.0));
    }
    format!("{} s", plain(seconds))
}

fn scaled(mut value: f64, step: f64, names: &[&str]) -> String {
    let mut names = names.iter();
    let mut name = names.next();
    while value.abs() >= step {
        let Some(next) = names.next() else { break };
        (value, name) = (value / step, Some(next));
    }
    let text = format!("{} {}", plain(value), name.unwrap_or(&""));
    text.trim_end().to_owned()
}

/// At most one digit behind the point where there are two before it.
fn plain(value: f64) -> String {
    let digits = if value.abs() < 1.0 { 2 } else { 1 };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        let text = text.trim_end_matches('0').trim_end_matches('.');
        return text.to_owned();
    }
    text
}

/// The lines of an axis from 0 to `top` or a little more; the last is its end.
pub(super) fn ticks(top: f64, unit: &str) -> Vec<f64> {
    let wanted = if top > 0.0 { top / 4.0 } else { 0.25 };
    let mut step = if unit == "bytes" {
        1024_f64.powf(wanted.log(1024.0).floor())
    } else {
        10_f64.powf(wanted.log10().floor())
    };
    let base = step;
    for factor in [
        1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0,
    ] {
        step = base * factor;
        if step >= wanted {
            break;
        }
    }
    let mut ticks = vec![0.0];
    while let Some(&last) = ticks.last()
        && last < top
        && ticks.len() < 10
    {
        ticks.push(last + step);
    }
    if ticks.len() == 1 {
        ticks.push(step);
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, unit, text) in [
            (0.0, "short", "0"),
            (7.0, "short", "7"),
            (0.25, "short", "0.25"),
            (1500.0, "short", "1.5 K"),
            (12_582_912.0, "bytes", "12 MiB"),
            (0.2, "s", "200 ms"),
            (59.0, "s", "59 s"),
            (150.0, "s", "2.5 min"),
            (2_592_000.0, "s", "30 days"),
            (-7200.0, "s", "-2 h"),
            (3.0, "reqps", "3 /s"),
        ] {
            assert_eq!(shown(value, unit), text);
        }
    }

    #[test]
    fn an_axis_has_few_lines_and_ends_above() {
        assert_eq!(ticks(8.0, "short"), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(0.0, "short").len(), 2);
        for top in [0.3, 1.0, 17.0, 999.0, 31_000_000.0] {
            for unit in ["short", "bytes"] {
                let ticks = ticks(top, unit);
                assert!(ticks.len() <= 6 && ticks.last() >= Some(&top), "{ticks:?}");
            }
        }
    }
}
