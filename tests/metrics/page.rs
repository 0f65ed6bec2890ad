//! An OpenMetrics page, read as strictly as its specification says.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// As on its line.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: String,
}

#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) unit: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

/// By the name in `# TYPE`.
pub(crate) type Page = BTreeMap<String, Family>;

/// Reads a page, or says what is wrong with it.
pub(crate) fn read(text: &str) -> Result<Page, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no end")?;
    let mut page = Page::new();
    let mut current = None::<String>;
    for line in body.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# ") {
            let mut parts = rest.splitn(3, ' ');
            let (Some(word), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next())
            else {
                return wrong("half a description");
            };
            if current.as_deref() != Some(name) {
                if page.contains_key(name) {
                    return wrong("in two places");
                }
                current = Some(name.to_owned());
            }
            let family = page.entry(name.to_owned()).or_default();
            if !family.samples.is_empty() {
                return wrong("described after its numbers");
            }
            match word {
                "HELP" if family.help.is_empty() => rest.clone_into(&mut family.help),
                "TYPE" if family.kind.is_empty() => rest.clone_into(&mut family.kind),
                "UNIT" if family.unit.is_none() && name.ends_with(&format!("_{rest}")) => {
                    family.unit = Some(rest.to_owned());
                }
                _ => return wrong("a description that is none, or a second one"),
            }
            continue;
        }
        let Some((name, family)) = current
            .as_ref()
            .and_then(|name| Some((name, page.get_mut(name)?)))
        else {
            return wrong("not described");
        };
        let sample = sample(line).ok_or_else(|| format!("not a number with labels: {line}"))?;
        let suffixes: &[&str] = match family.kind.as_str() {
            "gauge" => &[""],
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => return wrong("no kind"),
        };
        let suffix = sample.name.strip_prefix(name.as_str());
        if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
            return wrong("of another name or kind");
        }
        if family.kind != "gauge" && sample.value.starts_with('-') {
            return wrong("less than nothing");
        }
        family.samples.push(sample);
    }
    for (name, family) in &page {
        let all: BTreeSet<_> = family
            .samples
            .iter()
            .map(|sample| (&sample.name, &sample.labels))
            .collect();
        if all.len() != family.samples.len() {
            return Err(format!("{name} has the same labels twice"));
        }
        if family.help.is_empty() || family.kind.is_empty() {
            return Err(format!("{name} is not described"));
        }
    }
    Ok(page)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let named = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !named(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = after;
            match rest.chars().next()? {
                ',' => rest = &rest[1..],
                '}' => break,
                _ => return None,
            }
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?;
    (named(name) && value.parse::<f64>().is_ok()).then(|| Sample {
        name: name.to_owned(),
        labels,
        value: value.to_owned(),
    })
}

/// A value, up to its quotation mark, and what comes after that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

/// What reads everything shows nothing.
#[test]
fn a_page_that_is_wrong_is_not_read() {
    let good = "# HELP a_seconds A.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{b=\"c\\\"\"} 1\n# EOF\n";
    let page = read(good).unwrap();
    assert_eq!(page["a_seconds"].samples[0].labels["b"], "c\"");
    for (from, to) in [
        ("# EOF\n", ""),
        ("_total", ""),
        ("} 1", "}"),
        ("} 1", "} -1"),
        ("c\\\"", "c\""),
        ("counter", "count"),
        ("# HELP a_seconds A.\n", ""),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
        ("# EOF", "a_seconds_total{b=\"c\\\"\"} 2\n# EOF"),
        ("# EOF", "b 2\n# EOF"),
    ] {
        let wrong = good.replace(from, to);
        assert!(read(&wrong).is_err(), "{wrong}");
    }
}
