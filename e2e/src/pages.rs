//! What the documentation holds: its links, and the blocks of code in it. The
//! first word after a fence is the language, the others say what is done with
//! the block: [`Block::is`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cluster::repository;

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its path in the repository.
    pub path: PathBuf,
    text: String,
}

/// Something between two fences.
#[derive(Clone, Debug)]
pub struct Block {
    /// The page, and the line of the fence.
    pub place: String,
    /// Its first word is the language.
    pub info: Vec<String>,
    /// What is between the fences.
    pub text: String,
}

impl Block {
    /// The language.
    #[must_use]
    pub fn language(&self) -> &str {
        self.info.first().map_or("", String::as_str)
    }

    /// Whether a word is said of it.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.info.iter().skip(1).any(|said| said == word)
    }

    /// What is said of it by `name=value`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut words = self.info.iter().filter_map(|word| word.split_once('='));
        words
            .find(|(said, _)| *said == name)
            .map(|(_, value)| value)
    }
}

/// Every page, sorted: of the root, of `docs`, and those beside code that
/// others link.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> Result<Vec<Page>> {
    let mut paths = Vec::new();
    for folder in ["", "docs", "docs/how-to"] {
        for entry in fs::read_dir(repository().join(folder))? {
            let name = entry?.file_name();
            let path = Path::new(folder).join(name);
            if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    for further in ["charts/opamp-operator", "e2e", "fuzz"] {
        let path = Path::new(further).join("README.md");
        if repository().join(&path).is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

impl Page {
    /// One page.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(repository().join(&path));
        let text = text.with_context(|| path.display().to_string())?;
        Ok(Self { path, text })
    }

    /// Its blocks of code.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<usize> = None;
        for (number, line) in self.text.lines().enumerate() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            match (trimmed.strip_prefix("```"), open) {
                (Some(info), None) => {
                    open = Some(indent);
                    blocks.push(Block {
                        place: format!("{}:{}", self.path.display(), number + 1),
                        info: info.split_whitespace().map(str::to_owned).collect(),
                        text: String::new(),
                    });
                }
                (Some(_), Some(_)) => open = None,
                (None, Some(indent)) => {
                    if let Some(block) = blocks.last_mut() {
                        // A block in a list is as deep as its fence.
                        block.text.push_str(line.get(indent..).unwrap_or(trimmed));
                        block.text.push('\n');
                    }
                }
                (None, None) => {}
            }
        }
        blocks
    }

    /// Its lines outside of blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }

    /// Where its links lead.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        // What looks like one in code is none.
        let spoken = |line: &str| line.split('`').step_by(2).collect::<String>();
        let prose: Vec<String> = self.prose().map(spoken).collect();
        let links = prose.iter().flat_map(|line| line.split("](").skip(1));
        let links = links.filter_map(|rest| rest.split(')').next());
        links.map(str::to_owned).collect()
    }

    /// The anchors that its headings make.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for line in self.prose() {
            let heading = line.trim_start_matches('#');
            if heading.len() == line.len() || !heading.starts_with(' ') {
                continue;
            }
            let anchor = anchor(heading);
            let mut name = anchor.clone();
            let mut again = 0;
            while !anchors.insert(name) {
                again += 1;
                name = format!("{anchor}-{again}");
            }
        }
        anchors
    }
}

/// The anchor of a heading, as the sites that show Markdown make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// All blocks of pages that are run where `word` says, as one script. What has
/// a `terminal` of its own runs beside the rest, and its output goes to a file
/// of that name.
///
/// # Errors
/// When a page cannot be read or has none.
pub fn script(pages: &[&str], word: &str) -> Result<String> {
    let mut script = "set -euo pipefail\n".to_owned();
    for page in pages {
        let blocks = Page::read(page.into())?.blocks();
        let mut blocks = blocks.iter().filter(|block| block.is(word)).peekable();
        ensure!(blocks.peek().is_some(), "{page} has no block for {word}");
        for block in blocks {
            let (place, text) = (&block.place, &block.text);
            writeln!(script, "echo '=== {place}'")?;
            match block.value("terminal") {
                None => script.push_str(text),
                Some(name) => writeln!(script, "(\n{text}) >\"$LOGS/{name}.log\" 2>&1 &")?,
            }
        }
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page {
            path: "a.md".into(),
            text: text.into(),
        }
    }

    #[test]
    fn blocks_are_found_also_in_lists() {
        let page = page(
            "# A\n```bash laptop terminal=x\n[a](b)\n```\n1. b\n   ```yaml\n   a: 1\n     b\n   ```\n",
        );
        let blocks = page.blocks();
        assert_eq!(blocks.len(), 2);
        assert!(blocks[0].is("laptop") && blocks[0].value("terminal") == Some("x"));
        assert_eq!(blocks[0].place, "a.md:2");
        assert_eq!(blocks[1].text, "a: 1\n  b\n");
        assert_eq!(blocks[1].language(), "yaml");
        assert!(page.links().is_empty());
    }

    #[test]
    fn anchors_are_those_of_the_sites() {
        let page = page(
            "# A `b`, c: d\n## OpAMP_x 1.2\n## A b c d\n#hash\n[`x`](y.md#z) `[a](b)` [u](v)\n",
        );
        let anchors = page.anchors();
        let expected = ["a-b-c-d", "a-b-c-d-1", "opamp_x-12"];
        assert!(anchors.iter().eq(expected), "{anchors:?}");
        assert_eq!(page.links(), ["y.md#z", "v"]);
    }
}
