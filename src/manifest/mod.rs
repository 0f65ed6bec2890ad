//! YAML files that hold several documents, and where in the file each stands.
//!
//! A parser's own words are never passed on: they may quote the line, and the
//! line may be a Secret's.

mod input;

use serde_json::Value;

pub use input::{Input, inputs, manifests};

/// Larger files are no manifests.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// One document of a file.
#[derive(Debug)]
pub struct Document<'a> {
    /// Which, from 1.
    pub number: usize,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// As it is written.
    pub text: &'a str,
    /// The object in it, or the objects if it is a `List`; or the line on which
    /// it ceases to be YAML.
    pub objects: Result<Vec<Value>, usize>,
}

impl Document<'_> {
    /// Its objects.
    ///
    /// # Errors
    /// If it is not YAML, with the place.
    pub fn into_objects(self) -> Result<Vec<Value>, String> {
        let number = self.number;
        self.objects.map_err(|line| {
            format!(
                "it is not valid YAML: document {number}, line {line} (check it with `kubectl apply --dry-run=client`)"
            )
        })
    }
}

/// The documents of a file; those that say nothing are left out.
#[must_use]
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    for (line, part) in parts(text) {
        let objects = match serde_saphyr::from_multiple::<Value>(part) {
            Ok(values) => {
                let objects: Vec<_> = values.into_iter().flat_map(items).collect();
                if objects.is_empty() {
                    continue;
                }
                Ok(objects)
            }
            Err(_) if says_nothing(part) => continue,
            Err(error) => {
                let within = error.location().map_or(1, |place| place.line());
                Err(line + usize::try_from(within).unwrap_or(1).max(1) - 1)
            }
        };
        let before = part.lines().take_while(|line| is_empty(line)).count();
        found.push(Document {
            number: found.len() + 1,
            line: line + before,
            text: part,
            objects,
        });
    }
    found
}

/// The text between separators, each part with its separator and the line on
/// which it begins. In YAML a line that begins with `---` separates documents
/// even where a scalar would go on.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if at > start && is_separator(line) {
            parts.push((first_line, &text[start..at]));
            (start, first_line) = (at, index + 1);
        }
        at += line.len();
    }
    parts.push((first_line, &text[start..]));
    parts
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Lines that say nothing of a document's content.
fn is_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line == "---" || line == "..." || line.starts_with(['#', '%'])
}

fn says_nothing(part: &str) -> bool {
    part.lines().all(is_empty)
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => {
            match list.remove("items") {
                Some(Value::Array(items)) => {
                    items.into_iter().filter(|item| !item.is_null()).collect()
                }
                _ => Vec::new(),
            }
        }
        value => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<(usize, usize, Result<Vec<Value>, usize>)> {
        let documents = documents(text).into_iter();
        documents.map(|d| (d.number, d.line, d.objects)).collect()
    }

    #[test]
    fn each_document_is_told_with_its_place() {
        let text = "# a comment\n---\n\na: 1\n---\n# nothing\n---\nkind: List\nitems: [{b: 2}, null, {c: 3}]\n--- {d: 4}\n";
        assert_eq!(
            read(text),
            [
                (1, 4, Ok(vec![json!({"a": 1})])),
                (2, 8, Ok(vec![json!({"b": 2}), json!({"c": 3})])),
                (3, 10, Ok(vec![json!({"d": 4})])),
            ]
        );
        for nothing in [
            "",
            "\n",
            "---\n---\n",
            "# only words\n",
            "%YAML 1.2\n---\n...",
        ] {
            assert_eq!(read(nothing), [], "{nothing:?}");
        }
    }

    #[test]
    fn a_broken_document_hides_no_other() {
        let read = read("a: 1\n---\nb: 2\nc: [\n---\nd: 4\n");
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].2, Ok(vec![json!({"a": 1})]));
        let line = read[1].2.clone().unwrap_err();
        assert!((3..=5).contains(&line), "{line}");
        assert_eq!(read[2].2, Ok(vec![json!({"d": 4})]));
    }

    #[test]
    fn line_ends_and_block_scalars_are_kept() {
        let read = read("a: |\n  x\n  ---\n  y\r\n---\r\nb: 2\r\n");
        assert_eq!(read[0].2, Ok(vec![json!({"a": "x\n---\ny\n"})]));
        assert_eq!((read[1].1, &read[1].2), (6, &Ok(vec![json!({"b": 2})])));
    }

    #[test]
    fn law7_no_line_of_a_broken_document_is_repeated() {
        let secret = "hunter2-hunter2";
        for text in [
            format!("a: {secret}\n b: ["),
            format!("? {secret}\n: : ["),
            format!("{secret}: *{secret}"),
        ] {
            let error = documents(&text).remove(0).into_objects().unwrap_err();
            assert!(!error.contains(secret), "{error}");
        }
    }
}
