//! Compares what a user wrote with the shape of `default.toml`, key by key, with line numbers.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Tables whose keys the user names; their values are checked when they are deserialized.
const OPEN_TABLES: &[&str] = &["sampling.services", "judge.models", "attributes", "write_back"];

/// Every mistake in `text`, each as `file:line: what; remedy`.
pub(super) fn mistakes(name: &str, text: &str, defaults: &str) -> Vec<String> {
    let written = match DeTable::parse(text) {
        Ok(written) => written,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            return vec![format!("{name}:{line}: not TOML: {}", error.message())];
        }
    };
    let Ok(shape) = defaults.parse::<toml::Table>() else {
        return vec!["the compiled-in defaults are not TOML".to_owned()];
    };
    let mut checker = Checker { name, text, mistakes: Vec::new() };
    checker.table("", written.get_ref(), &shape);
    checker.mistakes
}

struct Checker<'a> {
    name: &'a str,
    text: &'a str,
    mistakes: Vec<String>,
}

impl Checker<'_> {
    fn table(&mut self, prefix: &str, written: &DeTable<'_>, shape: &toml::Table) {
        for (key, value) in written {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            if OPEN_TABLES.contains(&path.as_str()) {
                continue;
            }
            match shape.get(key.get_ref().as_ref()) {
                None => self.unknown(&path, prefix, key, value.get_ref(), shape),
                Some(expected) => self.value(&path, value, expected),
            }
        }
    }

    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, expected: &toml::Value) {
        match (value.get_ref(), expected) {
            (DeValue::Table(written), toml::Value::Table(shape)) => self.table(path, written, shape),
            (DeValue::Integer(_), toml::Value::Float(_)) => {}
            (found, expected) if type_of(found) == expected.type_str() => {}
            (found, expected) => {
                let line = line_of(self.text, value.span().start);
                self.mistakes.push(format!(
                    "{}:{line}: {path} is a {}, expected a {} such as {expected}",
                    self.name,
                    type_of(found),
                    expected.type_str()
                ));
            }
        }
    }

    fn unknown(
        &mut self,
        path: &str,
        prefix: &str,
        key: &Spanned<impl AsRef<str>>,
        value: &DeValue<'_>,
        shape: &toml::Table,
    ) {
        let line = line_of(self.text, key.span().start);
        let what = match value {
            DeValue::Table(_) => format!("unknown section [{path}]"),
            _ => format!("unknown key {path}"),
        };
        let mut known: Vec<&str> = shape.keys().map(String::as_str).collect();
        if prefix.is_empty() {
            known.push("write_back");
        }
        self.mistakes.push(format!("{}:{line}: {what}; known here: {}", self.name, known.join(", ")));
    }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "float",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "table",
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
