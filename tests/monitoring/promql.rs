//! As much of `PromQL` as says which metrics, labels and values a query names.
//! Whether it is one is for promtool to judge.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// `label=~"value"`.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    operator: String,
    pub(crate) value: String,
}

impl Matcher {
    /// Whether a series with this value is meant.
    pub(crate) fn takes(&self, value: &str) -> bool {
        let pattern = Regex::new(&format!("^(?:{})$", self.value)).unwrap();
        match &*self.operator {
            "=" => self.value == value,
            "!=" => self.value != value,
            "=~" => pattern.is_match(value),
            _ => !pattern.is_match(value),
        }
    }
}

/// A metric, and which of its series.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// What a query names.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) selectors: Vec<Selector>,
    /// After `by`, `on` and their like.
    pub(crate) grouped: Vec<String>,
    /// Whether sums and their like take labels away.
    aggregates: bool,
}

const WITH_LABELS: [&str; 6] = [
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "on",
    "without",
];
const AGGREGATIONS: [&str; 4] = ["count", "max", "min", "sum"];
const WORDS: [&str; 5] = ["and", "bool", "offset", "or", "unless"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

impl Query {
    /// Whether its answer has only labels that are grouped by.
    pub(crate) fn groups(&self) -> bool {
        self.aggregates
    }

    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let tokens = tokens(text);
        let mut query = Self::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let Token::Word(word) = token else {
                continue;
            };
            let next = tokens.get(at);
            let opens = |sign: &str| next == Some(&Token::Sign(sign.to_owned()));
            if word.starts_with("opamp_operator_") || word.starts_with("process_") {
                let metric = word.clone();
                let mut matchers = Vec::new();
                if opens("{") {
                    (matchers, at) = matchers_of(&tokens, at + 1)?;
                }
                query.selectors.push(Selector { metric, matchers });
            } else if WITH_LABELS.contains(&&**word) && opens("(") {
                at += 1;
                while let Some(Token::Word(label) | Token::Sign(label)) = tokens.get(at) {
                    at += 1;
                    match &**label {
                        ")" => break,
                        "," => {}
                        label => query.grouped.push(label.to_owned()),
                    }
                }
            } else if opens("(") || AGGREGATIONS.contains(&&**word) {
                query.aggregates |= AGGREGATIONS.contains(&&**word);
            } else if !WORDS.contains(&&**word) {
                return Err(format!("{word} is no metric of ours: {text}"));
            }
        }
        Ok(query)
    }
}

fn matchers_of(tokens: &[Token], mut at: usize) -> Result<(Vec<Matcher>, usize), String> {
    let mut matchers = Vec::new();
    loop {
        match tokens.get(at..) {
            Some([Token::Sign(end), ..]) if end == "}" => return Ok((matchers, at + 1)),
            Some([Token::Sign(comma), ..]) if comma == "," => at += 1,
            Some(
                [
                    Token::Word(label),
                    Token::Sign(operator),
                    Token::Text(value),
                    ..,
                ],
            ) => {
                matchers.push(Matcher {
                    label: label.clone(),
                    operator: operator.clone(),
                    value: value.clone(),
                });
                at += 3;
            }
            rest => return Err(format!("no matcher: {rest:?}")),
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut rest = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(&first) = rest.peek() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if first.is_alphabetic() || first == '_' {
            tokens.push(Token::Word(take(&mut rest, word)));
        } else if first.is_numeric() {
            // Also 5m.
            take(&mut rest, word);
        } else if first == '[' {
            // A range says how long, and names nothing.
            take(&mut rest, |c| c != ']');
        } else if first == '"' {
            rest.next();
            tokens.push(Token::Text(take(&mut rest, |c| c != '"')));
            rest.next();
        } else if "=!~".contains(first) {
            tokens.push(Token::Sign(take(&mut rest, |c| "=!~".contains(c))));
        } else {
            rest.next();
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first.to_string()));
            }
        }
    }
    tokens
}

fn take(rest: &mut Peekable<Chars<'_>>, keep: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some(next) = rest.next_if(|&c| keep(c)) {
        taken.push(next);
    }
    taken
}
